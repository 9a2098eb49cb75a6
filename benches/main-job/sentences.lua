-- Posts the bodies of a file, one a line, in turn, or just gets; prints what wrk found as one line of
-- JSON. Usage: wrk -s sentences.lua <url> -- [<file>]

local requests, position = {}, 0

function init(args)
  if not args[1] then
    requests[1] = wrk.format()
    return
  end
  local headers = { ["Content-Type"] = "application/json" }
  for body in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("POST", nil, headers, body)
  end
end

function request()
  position = position % #requests + 1
  return requests[position]
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  local form = '{"requests": %d, "seconds": %.6f, "failed": %d, "p50_ms": %.4f, "p99_ms": %.4f}\n'
  local p50, p99 = latency:percentile(50) / 1e3, latency:percentile(99) / 1e3
  io.write(form:format(summary.requests, summary.duration / 1e6, failed, p50, p99))
end
