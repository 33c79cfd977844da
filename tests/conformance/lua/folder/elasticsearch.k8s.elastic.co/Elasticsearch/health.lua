local count = 0
for _, set in pairs(obj.spec.nodeSets or {}) do
  count = count + tonumber(set.count)
end
if obj.status == nil or obj.status.phase == nil then
  return {status = "Unknown", message = "Elasticsearch Cluster status is unknown"}
end
if obj.status.phase == "Invalid" then
  return {status = "Degraded", message = "Elasticsearch phase is " .. obj.status.phase}
end
if obj.status.phase ~= "Ready" then
  return {status = "Progressing", message = "Elasticsearch phase is " .. obj.status.phase}
end
if obj.status.availableNodes ~= count then
  return {
    status = "Progressing",
    message = "The desired amount of availableNodes is " .. count .. " but the current amount is " .. obj.status.availableNodes
  }
end
local colours = {green = "Healthy", yellow = "Progressing", red = "Degraded"}
return {status = colours[obj.status.health], message = "Elasticsearch Cluster status is " .. obj.status.health}
