/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STORE_SCHEMA_H
#define STORE_SCHEMA_H

/* The tables, as numbered steps: a database of an earlier release is brought
 * up in one transaction; one of a later release is refused. */

#include "base/err.h"

struct db;

/* A step in a file of its own: own accounts. */
extern const char *const account_step[];

bool schema_migrate(struct db *db, struct err *err);

#endif
