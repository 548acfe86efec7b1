-- SPDX-License-Identifier: AGPL-3.0-or-later
--
-- http-request lua.reeve SOCKET: asks Reeve whether the request may pass, and
-- who it is. HAProxy's own HTTP client carries the question: no other program
-- runs, and nothing waits while one request does. Whatever goes wrong refuses.

-- Of one hop, or of the body, which is not sent along.
local dropped = {
	["host"] = true, ["connection"] = true, ["content-length"] = true, ["transfer-encoding"] = true,
	["te"] = true, ["trailer"] = true, ["upgrade"] = true, ["expect"] = true, ["keep-alive"] = true,
	["proxy-connection"] = true,
}

-- Of the answer, what is not about the person.
local own = {
	["content-length"] = true, ["cache-control"] = true, ["connection"] = true, ["server"] = true,
	["date"] = true, ["content-type"] = true, ["x-content-type-options"] = true,
}

local function question(txn)
	local headers = {}

	for name, values in pairs(txn.http:req_get_headers()) do
		if not dropped[name] then
			local list = {}
			for _, v in pairs(values) do
				list[#list + 1] = v
			end
			headers[name] = list
		end
	end
	headers["x-original-method"] = { txn.sf:method() }
	headers["x-original-uri"] = { txn.sf:pathq() }
	headers["x-original-host"] = { txn.sf:req_hdr("host") }
	headers["x-original-proto"] = { txn.f:ssl_fc() == 1 and "https" or "http" }
	headers["x-real-ip"] = { txn.sf:src() }
	return headers
end

local function refuse(txn, status, headers, body)
	local reply = txn:reply({ status = status })

	for name, values in pairs(headers) do
		if name ~= "content-length" and name ~= "connection" then
			for _, v in pairs(values) do
				reply:add_header(name, v)
			end
		end
	end
	reply:set_body(body)
	txn:done(reply)
end

core.register_action("reeve", { "http-req" }, function(txn, socket)
	local client = core.httpclient()
	local answer = client:get({ url = "http://reeve/_reeve/ask", dst = "unix@" .. socket, headers = question(txn) })

	if not answer or answer.status ~= 200 then
		local status = answer and answer.status or 0
		local login = status == 303 and answer.headers["location"]
		if not login and (status < 400 or status > 599 or not answer.headers["x-reeve-reason"]) then
			refuse(txn, 503, {}, "")
			return
		end
		refuse(txn, status, answer.headers, answer.body or "")
		return
	end
	for name, values in pairs(answer.headers) do
		if not own[name] then
			txn.http:req_del_header(name)
			for _, v in pairs(values) do
				if v ~= "" then
					txn.http:req_add_header(name, v)
				end
			end
		end
	end
end, 1)
