hs = {}
for _, condition in ipairs(obj.status and obj.status.conditions or {}) do
  if condition.status == "True" and (condition.type == "Ready" or condition.type == "NotReady") then
    hs.status = condition.type == "Ready" and "Healthy" or "Degraded"
    hs.message = condition.message
    return hs
  end
end
hs.status = "Progressing"
hs.message = "Waiting for Kafka User"
return hs
