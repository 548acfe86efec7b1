/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEB_PASSKEY_JS_H
#define WEB_PASSKEY_JS_H

/*
 * The one script that any page of ours has: it asks the browser for a passkey, fills the form
 * in (own_pages.h) and sends it. What it is told is in data- attributes, and everything that
 * comes of it is judged by the coordinator.
 */
#define PASSKEY_JS                                                                            \
	"'use strict';\n"                                                                     \
	"(function () {\n"                                                                    \
	"  var told = document.getElementById('passkey');\n"                                  \
	"  var button = document.getElementById('use-passkey');\n"                            \
	"  var wrong = document.getElementById('passkey-wrong');\n"                           \
	"  if (!told || !button) return;\n"                                                   \
	"  var d = told.dataset, form = button.form;\n"                                       \
	"  function say(words) { wrong.textContent = words; wrong.hidden = false; }\n"        \
	"  function bytes(text) {\n"                                                          \
	"    var raw = atob(text.replace(/-/g, '+').replace(/_/g, '/'));\n"                   \
	"    return Uint8Array.from(raw, function (c) { return c.charCodeAt(0); });\n"        \
	"  }\n"                                                                               \
	"  function set(name, buffer) {\n"                                                    \
	"    var raw = '';\n"                                                                 \
	"    new Uint8Array(buffer || []).forEach(function (b) { raw += String.fromCharCode(b); });\n" \
	"    form.elements[name].value = btoa(raw).replace(/\\+/g, '-').replace(/\\//g, '_').replace(/=+$/, '');\n" \
	"  }\n"                                                                               \
	"  function created(c) {\n"                                                           \
	"    set('client', c.response.clientDataJSON);\n"                                     \
	"    set('attestation', c.response.attestationObject);\n"                             \
	"    form.submit();\n"                                                                \
	"  }\n"                                                                               \
	"  function shown(c) {\n"                                                             \
	"    set('id', c.rawId);\n"                                                           \
	"    set('client', c.response.clientDataJSON);\n"                                     \
	"    set('data', c.response.authenticatorData);\n"                                    \
	"    set('signature', c.response.signature);\n"                                       \
	"    set('user', c.response.userHandle);\n"                                           \
	"    form.submit();\n"                                                                \
	"  }\n"                                                                               \
	"  function failed(e) {\n"                                                            \
	"    button.disabled = false;\n"                                                      \
	"    say('That did not work (' + e.name + '). Try again.');\n"                        \
	"  }\n"                                                                               \
	"  if (!window.PublicKeyCredential) {\n"                                              \
	"    button.disabled = true;\n"                                                       \
	"    say('This browser knows no passkeys.');\n"                                       \
	"    return;\n"                                                                       \
	"  }\n"                                                                               \
	"  button.addEventListener('click', function () {\n"                                  \
	"    button.disabled = true;\n"                                                       \
	"    wrong.hidden = true;\n"                                                          \
	"    if (d.kind === 'create')\n"                                                      \
	"      navigator.credentials.create({ publicKey: {\n"                                 \
	"        challenge: bytes(d.challenge), timeout: 300000, attestation: 'none',\n"      \
	"        rp: { id: d.rp, name: d.rp },\n"                                             \
	"        user: { id: bytes(d.user), name: d.login, displayName: d.login },\n"         \
	"        pubKeyCredParams: [{ type: 'public-key', alg: -7 }, { type: 'public-key', alg: -8 }],\n" \
	"        excludeCredentials: d.known.split(' ').filter(Boolean).map(function (id) {\n" \
	"          return { type: 'public-key', id: bytes(id) };\n"                           \
	"        }),\n"                                                                       \
	"        authenticatorSelection: { residentKey: 'required', requireResidentKey: true,\n" \
	"          userVerification: 'required' }\n"                                          \
	"      } }).then(created).catch(failed);\n"                                           \
	"    else\n"                                                                          \
	"      navigator.credentials.get({ publicKey: { challenge: bytes(d.challenge), timeout: 300000,\n" \
	"        rpId: d.rp, userVerification: 'required' } }).then(shown).catch(failed);\n"  \
	"  });\n"                                                                             \
	"})();\n"

#endif
