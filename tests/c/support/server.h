/* Throw-away Redis servers: each in a directory of its own, killed and removed at exit at the latest. */
#ifndef SERVER_H
#define SERVER_H

#include <sys/types.h>

#include <rs_script.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct server server;

/* Starts `redis-server` on a Unix socket and on a free port of the loopback, and waits until it answers. */
server *server_start(void);

/* The same, as a node of a cluster that is still to be formed: see cluster.h. */
server *server_start_node(void);

/* The same, as a sentinel that watches nothing yet. */
server *server_start_sentinel(void);

/* `unix://...`, borrowed until the server is stopped. */
const char *server_url(const server *s);

/* `redis://127.0.0.1:port`, borrowed until the server is stopped. */
const char *server_tcp_url(const server *s);

int server_port(const server *s);

pid_t server_pid(const server *s);

/* Kills the server, as a power cut would, and removes its directory. */
void server_stop(server *s);

/* Opens a client with default options but time enough on a busy machine. */
rs_client *open_client(const char *url);

/* The reply to a command of NUL-terminated words, the last followed by NULL. */
rs_reply *command(rs_client *client, ...);

/* The same, thrown away. */
void do_command(rs_client *client, ...);

/* One figure of rs_client_stats. */
uint64_t stat_of(rs_client *client, size_t which);

/* Sleeps. For the pace of waiting only, never in place of a condition. */
void pause_ms(long ms);

#ifdef __cplusplus
}
#endif

#endif
