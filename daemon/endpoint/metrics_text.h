/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_METRICS_TEXT_H
#define ENDPOINT_METRICS_TEXT_H

/*
 * Several processes' metrics as one Prometheus exposition (text format 0.0.4):
 * a family is there once, with the samples of all. Pure.
 */

#include "base/buf.h"

/* Appends what the texts say together. A line that is no sample of its family is dropped. */
void metrics_merge(const struct span *texts, size_t n, struct buf *out);

#endif
