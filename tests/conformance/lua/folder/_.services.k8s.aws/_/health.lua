local status = {status = "Progressing", message = "Waiting for resource to be ready"}
if not obj.status or not obj.status.conditions then return status end
for i = 1, #obj.status.conditions do
  local c = obj.status.conditions[i]
  if c.type == "ACK.Terminal" and c.status == "True" then
    return {status = "Degraded", message = c.message}
  elseif c.type == "ACK.ResourceSynced" then
    if c.status == "True" then status.status = "Healthy" end
    status.message = c.message
  end
end
return status
