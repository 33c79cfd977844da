local phases = {Bound = "Healthy", Pending = "Progressing", Failed = "Degraded", Released = "Degraded"}
local phase = obj.status ~= nil and obj.status.phase or "Pending"
return {status = phases[phase] or "Progressing", message = "phase " .. phase}
