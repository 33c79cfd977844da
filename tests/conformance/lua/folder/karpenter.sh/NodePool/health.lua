local conditions = {}
for _, c in next, obj.status.conditions do conditions[c.type] = c end
local ready = conditions["Ready"]
if ready.status == "True" then return {status = "Healthy", message = ready.message} end
return {status = "Degraded", message = ready.message}
