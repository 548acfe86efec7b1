/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENDPOINT_SECCOMP_H
#define ENDPOINT_SECCOMP_H

/*
 * System calls that a process of reeved may still make. A front's list says
 * what is allowed; core's and net's say what is not, since their libraries
 * are large. What is refused fails with EPERM, so that a library which only
 * tries goes on; what nobody tries by accident ends the process.
 *
 * Builds with a sanitizer have no filter: its runtime needs what we refuse.
 */

#include "base/err.h"

bool seccomp_built(void);       /* false in such a build */

bool seccomp_front(struct err *err);
bool seccomp_core(struct err *err);
bool seccomp_net(bool mesh, struct err *err);

#endif
