/* A throw-away cluster, formed through the library itself. */
#include "cluster.h"

#include "check.h"

static int sees_all(rs_client *node) {
    static const char *const lines[] = {"cluster_state:ok\r\n", "cluster_slots_assigned:16384\r\n",
                                        "cluster_known_nodes:3\r\n"};
    rs_reply *info = command(node, "CLUSTER", "INFO", NULL);
    int found = 0;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        found += strstr(rs_reply_string(info, NULL), lines[i]) != NULL;
    rs_reply_free(info);
    return found == sizeof lines / sizeof *lines;
}

cluster cluster_start(void) {
    enum { SLOTS = 16384 };
    cluster c;
    rs_client *clients[CLUSTER_NODES];
    size_t len = (size_t)snprintf(c.url, sizeof c.url, "redis+cluster://");
    for (int i = 0; i < CLUSTER_NODES; i++) {
        char first[8], last[8], epoch[8], port[8];
        c.nodes[i] = server_start_node();
        clients[i] = open_client(server_url(c.nodes[i]));
        snprintf(first, sizeof first, "%d", i * SLOTS / CLUSTER_NODES);
        snprintf(last, sizeof last, "%d", (i + 1) * SLOTS / CLUSTER_NODES - 1);
        snprintf(epoch, sizeof epoch, "%d", i + 1);
        do_command(clients[i], "CLUSTER", "ADDSLOTSRANGE", first, last, NULL);
        do_command(clients[i], "CLUSTER", "SET-CONFIG-EPOCH", epoch, NULL);
        /* Everyone meets everyone: quicker than waiting for gossip. */
        for (int other = 0; other < i; other++) {
            snprintf(port, sizeof port, "%d", server_port(c.nodes[other]));
            do_command(clients[i], "CLUSTER", "MEET", "127.0.0.1", port, NULL);
        }
        len += (size_t)snprintf(c.url + len, sizeof c.url - len, "%s127.0.0.1:%d", i > 0 ? "," : "",
                                server_port(c.nodes[i]));
    }
    for (int i = 0; i < CLUSTER_NODES; i++) {
        WAIT_UNTIL(sees_all(clients[i]));
        rs_client_free(clients[i]);
    }
    return c;
}

/* The port of the slot's owner, as a node has it. */
static int64_t owner_by(rs_client *node, uint16_t slot) {
    rs_reply *ranges = command(node, "CLUSTER", "SLOTS", NULL);
    int64_t port = 0;
    for (size_t i = 0; i < rs_reply_len(ranges); i++) {
        const rs_reply *range = rs_reply_element(ranges, i);
        if (rs_reply_integer(rs_reply_element(range, 0)) <= slot &&
            slot <= rs_reply_integer(rs_reply_element(range, 1)))
            port = rs_reply_integer(rs_reply_element(rs_reply_element(range, 2), 1));
    }
    rs_reply_free(ranges);
    return port;
}

void cluster_move_empty_slot(const cluster *c, uint16_t slot, int from, int to) {
    char number[8];
    rs_client *nodes[CLUSTER_NODES];
    for (int i = 0; i < CLUSTER_NODES; i++) nodes[i] = open_client(server_url(c->nodes[i]));
    rs_reply *from_id = command(nodes[from], "CLUSTER", "MYID", NULL);
    rs_reply *to_id = command(nodes[to], "CLUSTER", "MYID", NULL);
    snprintf(number, sizeof number, "%u", (unsigned)slot);
    /* Only an owner that was importing takes a new epoch, without which the others do not believe it. */
    do_command(nodes[to], "CLUSTER", "SETSLOT", number, "IMPORTING", rs_reply_string(from_id, NULL), NULL);
    do_command(nodes[to], "CLUSTER", "SETSLOT", number, "NODE", rs_reply_string(to_id, NULL), NULL);
    do_command(nodes[from], "CLUSTER", "SETSLOT", number, "NODE", rs_reply_string(to_id, NULL), NULL);
    rs_reply_free(from_id);
    rs_reply_free(to_id);
    for (int i = 0; i < CLUSTER_NODES; i++) {
        WAIT_UNTIL(owner_by(nodes[i], slot) == server_port(c->nodes[to]));
        rs_client_free(nodes[i]);
    }
}

const char *cluster_address(const cluster *c, int node, char *place) {
    snprintf(place, 24, "127.0.0.1:%d", server_port(c->nodes[node]));
    return place;
}
