/* A throw-away cluster of three primaries, on servers that end as all others do. */
#ifndef CLUSTER_H
#define CLUSTER_H

#include "server.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { CLUSTER_NODES = 3 };

/* The nodes divide the slots in their order: 0 to 5460, 5461 to 10921, 10922 to 16383. */
typedef struct cluster {
    server *nodes[CLUSTER_NODES];
    char url[96]; /* `redis+cluster://...` */
} cluster;

/* Starts the nodes, and waits until each sees a whole cluster. */
cluster cluster_start(void);

/* Gives a slot without keys to another node, and waits until all know. */
void cluster_move_empty_slot(const cluster *c, uint16_t slot, int from, int to);

/* A node as it announces itself, `127.0.0.1:port`; `place` has room for 24 bytes. Returns `place`. */
const char *cluster_address(const cluster *c, int node, char *place);

#ifdef __cplusplus
}
#endif

#endif
