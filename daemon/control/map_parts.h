/* SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CONTROL_MAP_PARTS_H
#define CONTROL_MAP_PARTS_H

/* What the codecs of nodes, messages and reports share; private to this folder.
 * map_add_*: ",\"name\":value", nothing for an empty one. map_get_*: copied
 * into mem; absent is empty. */

#include "daemon/control/fields.h"
#include "daemon/control/map.h"

void map_add_member(struct buf *out, const char *name, struct span text);
void map_add_list(struct buf *out, const char *name, const struct map_list *l);
void map_add_endpoints(struct buf *out, const struct ipport *list, size_t n);
void map_add_routes(struct buf *out, const struct prefix *list, size_t n);
void map_add_services(struct buf *out, const struct map_service *list, size_t n);
void map_add_attrs(struct buf *out, const struct map_attr *list, size_t n);
void map_add_mesh(struct buf *out, const struct map_mesh *m);           /* the object alone */

struct span map_get_str(struct fields *f, struct arena *mem, const char *name, size_t max, unsigned flags);
uint64_t    map_get_id(struct fields *f, const char *name, char kind);
void        map_get_list(struct fields *f, struct arena *mem, const char *name, struct map_list *ret);
void map_get_endpoints(struct fields *f, struct arena *mem, struct ipport **ret, size_t *ret_n);
void map_get_routes(struct fields *f, struct arena *mem, struct prefix **ret, size_t *ret_n);
void map_get_services(struct fields *f, struct arena *mem, struct map_service **ret, size_t *ret_n);
void map_get_attrs(struct fields *f, struct arena *mem, struct map_attr **ret, size_t *ret_n);
bool map_get_mesh(struct fields *f, struct arena *mem, struct map_mesh *ret);   /* member "mesh", required */
bool map_get_epoch(struct fields *f, char ret_epoch[MAP_EPOCH_LEN + 1]);        /* member "epoch", required */

#endif
