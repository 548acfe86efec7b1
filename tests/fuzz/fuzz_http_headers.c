/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* Whatever folds to one name is stripped, or passes, together. */
#include "daemon/proxy/headers.h"
#include "daemon/proxy/http_parse.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span name = span_of(data, size);
	char folded[HTTP_NAME_MAX], under[HTTP_NAME_MAX];
	struct span f;

	if (!http_is_token(name) || size > HTTP_NAME_MAX)
		return 0;
	f = header_fold(name, folded);
	must(f.len <= name.len);
	must(header_strips(NULL, name) == header_strips(NULL, f));
	for (size_t i = 0; i < size; i++) {
		char c = name.ptr[i];

		under[i] = (char)(c >= 'a' && c <= 'z' ? c - 32 : c == '-' ? '_' : c);
	}
	must(header_strips(NULL, name) == header_strips(NULL, span_of(under, size)));
	return 0;
}
