-- SPDX-License-Identifier: AGPL-3.0-or-later
--
-- LuaHookAccessChecker reeve.lua ask: asks Reeve at the socket REEVE_SOCKET
-- whether the request may pass, and who it is. The person is REMOTE_USER for
-- what runs inside Apache (CGI, PHP, WSGI), and the profile's headers are for
-- what is behind it. Whatever goes wrong refuses.

local unix = require "socket.unix"

local ANSWER_MAX = 256 * 1024
local TIMEOUT = 5

-- Of one hop, or of the body, which is not sent along.
local dropped = {
	["host"] = true, ["connection"] = true, ["content-length"] = true, ["transfer-encoding"] = true,
	["te"] = true, ["trailer"] = true, ["upgrade"] = true, ["expect"] = true, ["keep-alive"] = true,
	["proxy-connection"] = true, ["x-original-method"] = true, ["x-original-uri"] = true,
	["x-original-host"] = true, ["x-original-proto"] = true, ["x-real-ip"] = true,
}

-- Of the answer, what is not about the person.
local own = {
	["content-length"] = true, ["cache-control"] = true, ["connection"] = true, ["server"] = true,
	["date"] = true, ["content-type"] = true, ["x-content-type-options"] = true,
}

local connections = {}

-- What the request that this thread serves said before ours was taken out: the next question is about the same person.
local cookie

-- A request that Apache makes itself while it serves one (mod_dav_svn does for each path, and
-- so does every internal redirect) has the fields that were written into the first, whose names
-- are kept where no client's word comes: those are not a forgery then.
local function written(r)
	local names = r.subprocess_env["REEVE_FIELDS"] or r.subprocess_env["REDIRECT_REEVE_FIELDS"]
	local set = {}

	if not r.is_initial_req and names then
		for name in names:gmatch("%S+") do
			set[name] = true
		end
	end
	return set
end

local function question(r)
	local lines = { "GET /_reeve/ask HTTP/1.1", "Host: reeve" }
	local ours = written(r)

	for name, value in pairs(r:headers_in_table()) do
		if not dropped[name:lower()] and not ours[name:lower()] then
			lines[#lines + 1] = name .. ": " .. value
		end
	end
	if r.is_initial_req then
		cookie = r.headers_in["Cookie"]
	elseif ours["cookie"] and cookie then
		lines[#lines + 1] = "Cookie: " .. cookie
	end
	lines[#lines + 1] = "X-Original-Method: " .. r.method
	lines[#lines + 1] = "X-Original-URI: " .. r.unparsed_uri
	lines[#lines + 1] = "X-Original-Host: " .. (r.headers_in["Host"] or "")
	lines[#lines + 1] = "X-Original-Proto: " .. (r.is_https and "https" or "http")
	lines[#lines + 1] = "X-Real-IP: " .. r.useragent_ip
	lines[#lines + 1] = "\r\n"
	return table.concat(lines, "\r\n")
end

-- Status, fields by lower-case name, body; nil if there is no whole answer.
local function read_answer(c)
	local line = c:receive("*l")
	local status = line and tonumber(line:match("^HTTP/1%.1 (%d%d%d)"))
	local fields, length, body = {}, 0, ""

	if not status then
		return nil
	end
	while true do
		line = c:receive("*l")
		if not line then
			return nil
		end
		if line == "" then
			break
		end
		local name, value = line:match("^([^:]+):%s*(.-)%s*$")
		if not name then
			return nil
		end
		fields[name:lower()] = value
	end
	length = tonumber(fields["content-length"])
	if not length or length > ANSWER_MAX then
		return nil
	end
	if length > 0 then
		body = c:receive(length)
		if not body then
			return nil
		end
	end
	return status, fields, body
end

-- A kept connection may have been closed meanwhile: then once more over a new one.
local function exchange(path, text)
	for try = 1, 2 do
		local c = connections[path]

		if not c then
			c = unix()
			c:settimeout(TIMEOUT)
			if not c:connect(path) then
				c:close()
				return nil
			end
		end
		connections[path] = nil
		if c:send(text) then
			local status, fields, body = read_answer(c)
			if status then
				if fields["connection"] == "close" then
					c:close()
				else
					connections[path] = c
				end
				return status, fields, body
			end
		end
		c:close()
	end
	return nil
end

function ask(r)
	local path = r.subprocess_env["REEVE_SOCKET"]
	local status, fields, body

	-- Of the person's own requests to Reeve nobody asks. Not the path says which they are, which can be
	-- written in many ways, but where mod_proxy is about to send them.
	if r.filename and r.filename:find("proxy:http://reeve/.well-known/reeve/", 1, true) == 1 then
		return apache2.DECLINED
	end
	if path then
		status, fields, body = exchange(path, question(r))
	end
	if status == 303 and fields["location"] then
		r.headers_out["Location"] = fields["location"]
		r.err_headers_out["Set-Cookie"] = fields["set-cookie"]
		r.err_headers_out["Cache-Control"] = "no-store"
		r.err_headers_out["Referrer-Policy"] = "no-referrer"
		return 303
	end
	if not status or (status ~= 200 and not fields["x-reeve-reason"]) then
		return 503
	end
	if status ~= 200 then
		r.err_headers_out["Cache-Control"] = "no-store"
		r.err_headers_out["X-Reeve-Reason"] = fields["x-reeve-reason"]
		if fields["x-reeve-login"] then
			r.err_headers_out["X-Reeve-Login"] = fields["x-reeve-login"]
		end
		if body:sub(1, 1) == "<" then
			r:custom_response(status, body)
		end
		return status
	end
	local names = {}
	for name, value in pairs(fields) do
		if not own[name] then
			r.headers_in[name] = value ~= "" and value or nil
			names[#names + 1] = name
		end
	end
	r.subprocess_env["REEVE_FIELDS"] = table.concat(names, " ")
	if fields["remote-user"] then
		r.user = fields["remote-user"]
	end
	return apache2.DECLINED
end
