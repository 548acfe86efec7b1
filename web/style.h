/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEB_STYLE_H
#define WEB_STYLE_H

/* The pages' style, and the hash under which their policy admits it. A unit
 * test says what the hash must be when the text has changed. */

#define STYLE_SHA256 "hNWe2wW9gW3SF/Z2qw/mh1g6O+qf+MtP0bFqDfNljmU="

#define STYLE_TEXT \
	":root{color-scheme:light dark;--line:#8886;--soft:#8882;--go:#175c3c;--stop:#8a1c1c}" \
	"body{font:1rem/1.5 system-ui,sans-serif;margin:0 auto;max-width:48rem;padding:2rem 1rem}" \
	"h1{font-size:1.5rem;font-weight:600;margin:0 0 1rem}" \
	"h2{font-size:1.1rem;font-weight:600;margin:2rem 0 .5rem}" \
	"dl{border:1px solid var(--line);border-radius:.4rem;display:grid;gap:.3rem 1rem;grid-template-columns:max-content 1fr;padding:.8rem 1rem}" \
	"dt{opacity:.75}" \
	"dd{margin:0;overflow-wrap:anywhere}" \
	".code{background:var(--soft);border-radius:.4rem;font:600 1.8rem/1.2 ui-monospace,monospace;letter-spacing:.12em;margin:1rem 0;padding:.8rem 1rem;text-align:center}" \
	".warn{border-left:.3rem solid var(--stop);padding-left:.8rem}" \
	"form{display:inline-block;margin:.3rem .6rem .3rem 0}" \
	"button{background:var(--go);border:0;border-radius:.4rem;color:#fff;cursor:pointer;font:inherit;padding:.5rem 1.1rem}" \
	"input:not([type=hidden]){background:transparent;border:1px solid var(--line);border-radius:.4rem;box-sizing:border-box;color:inherit;font:inherit;padding:.5rem .7rem;width:min(24rem,100%)}" \
	"form[data-refuse] button{background:transparent;border:1px solid currentColor;color:inherit}" \
	"button:focus-visible,a:focus-visible{outline:3px solid #4a90d9;outline-offset:2px}" \
	".wide{overflow-x:auto}" \
	"table{border-collapse:collapse;width:100%}" \
	"th,td{border-bottom:1px solid var(--line);padding:.4rem .8rem .4rem 0;text-align:left;vertical-align:top}" \
	"td small{overflow-wrap:anywhere}" \
	"td form{margin:0}" \
	"small,footer{font-size:.85rem;opacity:.75}" \
	"footer{border-top:1px solid var(--line);margin-top:3rem;padding-top:.8rem}"

#endif
