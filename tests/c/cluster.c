/* The functions that a single server is used with, unchanged, on a cluster; and the routes that only a cluster
   needs. */
#include "support/check.h"
#include "support/cluster.h"

enum { KEYS = 300 };

static cluster three;
static rs_client *client;
static char keys[KEYS][8];

/* One on each node, in their order. */
static const char *const key_on[CLUSTER_NODES] = {"hello", "c", "foo"};

static const char multiply_lua[] = "return redis.call('GET', KEYS[1]) * ARGV[1]";
static const char port_lua[] = "return tonumber(redis.call('INFO', 'server'):match('tcp_port:(%d+)'))";

static rs_script *script_of(const char *lua) {
    rs_script *script = NULL;
    CHECK_OK(rs_script_register(client, lua, strlen(lua), NULL, &script, &err));
    return script;
}

/* The integer that a script of one key and one argument, or of neither, returns. */
static int64_t result(uint32_t flags, const rs_script *script, rs_client *on, const char *key, const char *arg) {
    rs_reply *reply = NULL;
    CHECK_OK(rs_script_call(script, on, key != NULL, &key, NULL, arg != NULL, &arg, NULL,
                            RS_CALL_OPTIONS(.flags = flags), &reply, &err));
    CHECK_INT(rs_reply_type(reply), RS_REPLY_INTEGER);
    const int64_t value = rs_reply_integer(reply);
    rs_reply_free(reply);
    return value;
}

static void scripts_run_where_their_keys_are(void) {
    rs_script *multiply = script_of(multiply_lua), *port = script_of(port_lua);
    for (int i = 0; i < KEYS; i++) {
        char value[8];
        snprintf(value, sizeof value, "%d", i);
        do_command(client, "SET", keys[i], value, NULL);
        CHECK_INT(result(0, multiply, NULL, keys[i], "5"), 5 * i);
        CHECK_INT(result(RS_CALL_READ_ONLY, multiply, client, keys[i], "6"), 6 * i);
    }
    CHECK_INT(stat_of(client, RS_STAT_SCRIPT_LOADS), CLUSTER_NODES); /* read-only calls need no other */
    for (int i = 0; i < CLUSTER_NODES; i++)
        CHECK_INT(result(0, port, NULL, key_on[i], NULL), server_port(three.nodes[i]));
    rs_script_free(port);
    rs_script_free(multiply);
}

static void keys_in_different_slots(void) {
    rs_script *multiply = script_of(multiply_lua);
    rs_pipeline *pipeline = NULL;
    const char *const apart[] = {"foo", "bar"}, *const together[] = {"{foo}1", "{foo}2"}, *const five[] = {"5"};
    const char *const mget[] = {"MGET", "foo", "bar"};
    const uint64_t sent = stat_of(client, RS_STAT_BYTES_SENT);
    rs_error *err = NULL;
    CHECK_INT(rs_script_call(multiply, NULL, 2, apart, NULL, 1, five, NULL, NULL, NULL, &err), RS_ERR_CROSS_SLOT);
    CHECK_HOLDS(rs_error_message(err), "\"foo\"");
    CHECK_HOLDS(rs_error_message(err), "\"bar\"");
    CHECK(rs_error_is_not_executed(err) && !rs_error_is_indeterminate(err));
    rs_error_free(err);
    CHECK_FAILS(RS_ERR_CROSS_SLOT, "\"bar\"",
                rs_script_call(multiply, NULL, 2, apart, NULL, 1, five, NULL, READ_ONLY, NULL, &err));
    CHECK_FAILS(RS_ERR_CROSS_SLOT, "\"bar\"", rs_client_command(client, 3, mget, NULL, NULL, NULL, &err));
    CHECK_OK(rs_pipeline_new(client, 0, &pipeline, &err));
    CHECK_FAILS(RS_ERR_CROSS_SLOT, "\"bar\"",
                rs_pipeline_script(pipeline, multiply, 2, apart, NULL, 1, five, NULL, NULL, &err));
    CHECK_INT(rs_pipeline_len(pipeline), 0);
    rs_pipeline_free(pipeline);
    CHECK_INT(stat_of(client, RS_STAT_BYTES_SENT), sent);

    do_command(client, "SET", "{foo}1", "3", NULL);
    CHECK_OK(rs_script_call(multiply, NULL, 2, together, NULL, 1, five, NULL, NULL, NULL, &err));
    rs_script_free(multiply);
}

static void a_pipeline_over_all_nodes(void) {
    rs_script *multiply = script_of(multiply_lua);
    rs_pipeline *pipeline = NULL;
    rs_reply *replies = NULL;
    const char *const five[] = {"5"};
    CHECK_OK(rs_client_script_flush(client, RS_FLUSH_SYNC, &err));
    CHECK_OK(rs_pipeline_new(client, 0, &pipeline, &err));
    for (int i = 0; i < KEYS; i++) {
        char value[8];
        const char *const key = keys[i], *const set[] = {"SET", key, value};
        snprintf(value, sizeof value, "%d", i);
        CHECK_OK(rs_pipeline_command(pipeline, 3, set, NULL, NULL, &err));
        CHECK_OK(rs_pipeline_script(pipeline, multiply, 1, &key, NULL, 1, five, NULL, NULL, &err));
        CHECK_OK(rs_pipeline_script(pipeline, multiply, 1, &key, NULL, 1, five, NULL, READ_ONLY, &err));
    }
    const uint64_t trips = stat_of(client, RS_STAT_ROUND_TRIPS), loads = stat_of(client, RS_STAT_SCRIPT_LOADS);
    CHECK_OK(rs_pipeline_exec(pipeline, NULL, &replies, &err));
    CHECK_INT(stat_of(client, RS_STAT_ROUND_TRIPS) - trips, CLUSTER_NODES);
    CHECK_INT(stat_of(client, RS_STAT_SCRIPT_LOADS) - loads, CLUSTER_NODES);
    CHECK_INT(rs_reply_len(replies), 3 * KEYS);
    for (size_t i = 0; i < KEYS; i++) {
        CHECK_STRING(rs_reply_element(replies, 3 * i), "OK");
        CHECK_INT(rs_reply_integer(rs_reply_element(replies, 3 * i + 1)), 5 * i);
        CHECK_INT(rs_reply_integer(rs_reply_element(replies, 3 * i + 2)), 5 * i);
    }
    rs_reply_free(replies);

    /* An item that fails on one node is that item's error alone. */
    for (int i = 0; i < CLUSTER_NODES; i++) {
        const char *const incr[] = {"INCR", key_on[i]}, *const set[] = {"SET", key_on[i], i == 1 ? "x" : "1"};
        CHECK_OK(rs_pipeline_command(pipeline, 3, set, NULL, NULL, &err));
        CHECK_OK(rs_pipeline_command(pipeline, 2, incr, NULL, NULL, &err));
    }
    CHECK_OK(rs_pipeline_exec(pipeline, NULL, &replies, &err));
    CHECK_INT(rs_reply_integer(rs_reply_element(replies, 1)), 2);
    CHECK_FAILS(RS_ERR_SERVER, "item 3 (INCR)", rs_reply_error(rs_reply_element(replies, 3), &err));
    CHECK_INT(rs_reply_integer(rs_reply_element(replies, 5)), 2);
    rs_reply_free(replies);
    rs_pipeline_free(pipeline);
    rs_script_free(multiply);
}

static void a_transaction_in_one_slot(void) {
    rs_script *multiply = script_of(multiply_lua);
    rs_pipeline *transaction = NULL;
    rs_reply *replies = NULL;
    const char *const set[] = {"SET", "{bar}1", "4"}, *const key[] = {"{bar}1"}, *const elsewhere[] = {"foo"},
                      *const five[] = {"5"};
    CHECK_OK(rs_client_script_flush(client, RS_FLUSH_SYNC, &err));
    CHECK_OK(rs_pipeline_new(client, RS_PIPELINE_ATOMIC, &transaction, &err));
    CHECK_OK(rs_pipeline_command(transaction, 3, set, NULL, NULL, &err));
    CHECK_OK(rs_pipeline_script(transaction, multiply, 1, key, NULL, 1, five, NULL, NULL, &err));
    rs_error *err = NULL;
    CHECK_INT(rs_pipeline_script(transaction, multiply, 1, elsewhere, NULL, 1, five, NULL, NULL, &err),
              RS_ERR_CROSS_SLOT);
    CHECK_HOLDS(rs_error_message(err), "\"{bar}1\"");
    CHECK_HOLDS(rs_error_message(err), "\"foo\"");
    rs_error_free(err);
    CHECK_INT(rs_pipeline_len(transaction), 2);
    CHECK_OK(rs_pipeline_exec(transaction, NULL, &replies, &err));
    CHECK_STRING(rs_reply_element(replies, 0), "OK");
    CHECK_INT(rs_reply_integer(rs_reply_element(replies, 1)), 20);
    rs_reply_free(replies);
    rs_pipeline_free(transaction);
    rs_script_free(multiply);
}

static void routes(void) {
    rs_script *port = script_of(port_lua);
    rs_client *view = NULL;
    char address[24];
    for (int i = 0; i < CLUSTER_NODES; i++) {
        const int want = server_port(three.nodes[i]);
        CHECK_OK(rs_client_with(client, TO_KEY(key_on[i], strlen(key_on[i])), &view, &err));
        CHECK_INT(result(0, port, view, NULL, NULL), want);
        CHECK_INT(result(RS_CALL_READ_ONLY, port, view, NULL, NULL), want);
        /* Keys go before the route. */
        const int next = (i + 1) % CLUSTER_NODES;
        CHECK_INT(result(0, port, view, key_on[next], NULL), server_port(three.nodes[next]));
        rs_client_free(view);
        CHECK_OK(rs_client_with(client, TO_SLOT((uint16_t)(i * 16383 / 2)), &view, &err));
        CHECK_INT(result(0, port, view, NULL, NULL), want);
        rs_client_free(view);
        CHECK_OK(rs_client_with(client, TO_NODE(cluster_address(&three, i, address)), &view, &err));
        CHECK_INT(result(0, port, view, NULL, NULL), want);
        rs_client_free(view);
    }
    CHECK_OK(rs_client_with(client, TO_KEY(NULL, 0), &view, &err)); /* the empty key, in slot 0 */
    CHECK_INT(result(0, port, view, NULL, NULL), server_port(three.nodes[0]));
    rs_client_free(view);
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "16384", rs_client_with(client, TO_SLOT(16384), &view, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "host:port", rs_client_with(client, TO_NODE("nobody"), &view, &err));
    CHECK_NULL(view);
    CHECK_OK(rs_client_with(client, TO_NODE("192.0.2.1:6379"), &view, &err));
    CHECK_FAILS(RS_ERR_NO_ROUTE, "192.0.2.1:6379",
                rs_script_call(port, view, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL, &err));
    rs_client_free(view);
    rs_script_free(port);
}

static void all_primaries(void) {
    rs_client *all = NULL;
    rs_reply *reply = NULL;
    char address[24];
    rs_script *failing = script_of("local port = redis.call('INFO', 'server'):match('tcp_port:(%d+)')\n"
                                   "if port == ARGV[1] then return redis.error_reply('MYWORD not here') end\n"
                                   "return tonumber(port)");
    CHECK_OK(rs_client_with(client, RS_CALL_OPTIONS(.route = RS_ROUTE_ALL), &all, &err));
    const char *const elsewhere = cluster_address(&three, 1, address), *const port = strchr(elsewhere, ':') + 1;
    CHECK_OK(rs_script_call(failing, all, 0, NULL, NULL, 1, &port, NULL, NULL, &reply, &err));
    CHECK_INT(rs_reply_type(reply), RS_REPLY_MAP);
    CHECK_INT(rs_reply_len(reply), 2 * CLUSTER_NODES);
    for (size_t i = 0; i < 2 * CLUSTER_NODES; i += 2) {
        const rs_reply *value = rs_reply_element(reply, i + 1);
        const char *node = rs_reply_string(rs_reply_element(reply, i), NULL);
        if (strcmp(node, elsewhere) == 0) {
            rs_error *err = NULL;
            CHECK_INT(rs_reply_type(value), RS_REPLY_ERROR);
            CHECK_INT(rs_reply_error(value, &err), RS_ERR_SERVER);
            CHECK_TEXT(rs_error_server_code(err), "MYWORD");
            rs_error_free(err);
        } else {
            CHECK_INT(rs_reply_integer(value), atoi(strchr(node, ':') + 1));
        }
    }
    rs_reply_free(reply);

    const char *const flush[] = {"FLUSHALL"};
    CHECK_FAILS(RS_ERR_NO_ROUTE, "name a route", rs_client_command(client, 1, flush, NULL, NULL, NULL, &err));
    do_command(all, "FLUSHALL", NULL);
    reply = command(all, "DBSIZE", NULL);
    for (size_t i = 1; i < 2 * CLUSTER_NODES; i += 2) CHECK_INT(rs_reply_integer(rs_reply_element(reply, i)), 0);
    rs_reply_free(reply);

    for (uint32_t flags = 0; flags <= RS_PIPELINE_ATOMIC; flags++) {
        rs_pipeline *pipeline = NULL;
        CHECK_OK(rs_pipeline_new(all, flags, &pipeline, &err));
        CHECK_OK(rs_pipeline_script(pipeline, failing, 0, NULL, NULL, 1, &port, NULL, NULL, &err));
        CHECK_FAILS(RS_ERR_NO_ROUTE, "", rs_pipeline_exec(pipeline, NULL, &reply, &err));
        CHECK_NULL(reply);
        rs_pipeline_free(pipeline);
    }
    rs_client_free(all);
    rs_script_free(failing);
}

static void administration(void) {
    rs_script *multiply = script_of(multiply_lua);
    rs_client *node = NULL;
    rs_reply *source = NULL;
    rs_error *err = NULL;
    const char *const shas[] = {rs_script_sha(multiply), "0000000000000000000000000000000000000000"};
    bool exists[2];
    char address[24];
    CHECK_OK(rs_client_script_load(client, multiply, &err));
    CHECK_OK(rs_client_script_exists(client, 2, shas, NULL, exists, &err));
    CHECK(exists[0] && !exists[1]);
    /* What a single primary lacks, they do not all have. */
    CHECK_OK(rs_client_with(client, TO_NODE(cluster_address(&three, 1, address)), &node, &err));
    do_command(node, "SCRIPT", "FLUSH", "SYNC", NULL);
    CHECK_OK(rs_client_script_exists(client, 2, shas, NULL, exists, &err));
    CHECK(!exists[0] && !exists[1]);
    CHECK_OK(rs_client_script_load(client, multiply, &err));
    CHECK_OK(rs_client_script_exists(client, 1, shas, NULL, exists, &err));
    CHECK(exists[0]);
    CHECK_OK(rs_client_script_flush(client, RS_FLUSH_SYNC, &err));
    CHECK_OK(rs_client_script_exists(client, 1, shas, NULL, exists, &err));
    CHECK(!exists[0]);
    rs_script *broken = script_of("return return");
    CHECK_FAILS(RS_ERR_COMPILE, "", rs_client_script_load(client, broken, &err));
    CHECK_INT(rs_client_script_kill(client, &err), RS_ERR_SERVER);
    CHECK_TEXT(rs_error_server_code(err), "NOTBUSY");
    rs_error_free(err);
    const rs_status shown = rs_client_script_show(client, shas[1], strlen(shas[1]), &source, &err);
    CHECK(shown == RS_OK || shown == RS_ERR_NOT_SUPPORTED); /* Valkey 8, Redis */
    CHECK_NULL(source);
    rs_error_free(err);
    rs_script_free(broken);
    rs_script_free(multiply);
    rs_client_free(node);
}

/* A slot that changes hands costs a redirection, once, and no error. */
static void a_slot_that_moves(void) {
    rs_script *port = script_of(port_lua);
    CHECK_INT(result(0, port, NULL, "foo", NULL), server_port(three.nodes[2]));
    const uint64_t redirects = stat_of(client, RS_STAT_REDIRECTS);
    cluster_move_empty_slot(&three, 12182, 2, 0);
    for (int i = 0; i < 3; i++) CHECK_INT(result(0, port, NULL, "foo", NULL), server_port(three.nodes[0]));
    CHECK_INT(stat_of(client, RS_STAT_REDIRECTS) - redirects, 1);
    rs_script_free(port);
}

static void addresses_that_are_mapped(void) {
    rs_options *options = rs_options_new();
    rs_client *mapped = NULL, *view = NULL;
    rs_script *port = script_of(port_lua);
    char announced[24], reachable[24];
    const int wanted = server_port(three.nodes[2]);
    snprintf(reachable, sizeof reachable, "localhost:%d", wanted);
    CHECK_OK(rs_options_map_address(options, cluster_address(&three, 2, announced), reachable, &err));
    CHECK_OK(rs_client_open(three.url, options, &mapped, &err));
    CHECK_INT(result(0, port, mapped, key_on[2], NULL), wanted);
    CHECK_OK(rs_client_with(mapped, TO_NODE(reachable), &view, &err));
    CHECK_INT(result(0, port, view, NULL, NULL), wanted);
    rs_client_free(view);
    rs_client_free(mapped);
    rs_options_free(options);
    rs_script_free(port);
}

static void replicas_that_there_are_none_of(void) {
    rs_script *port = script_of(port_lua);
    rs_client *view = NULL;
    CHECK_OK(rs_client_with(client, RS_CALL_OPTIONS(.read_from = RS_READ_FROM_PREFER_REPLICA), &view, &err));
    CHECK_INT(result(RS_CALL_READ_ONLY, port, view, key_on[1], NULL), server_port(three.nodes[1]));
    rs_client_free(view);
    CHECK_OK(rs_client_with(client, RS_CALL_OPTIONS(.read_from = RS_READ_FROM_REPLICA), &view, &err));
    const char *const key = key_on[1];
    CHECK_FAILS(RS_ERR_CONNECT, "replica",
                rs_script_call(port, view, 1, &key, NULL, 0, NULL, NULL, READ_ONLY, NULL, &err));
    CHECK_INT(result(0, port, view, key, NULL), server_port(three.nodes[1]));
    rs_client_free(view);
    rs_script_free(port);
}

int main(void) {
    three = cluster_start();
    client = open_client(three.url);
    for (int i = 0; i < KEYS; i++) snprintf(keys[i], sizeof keys[i], "key:%d", i);
    RUN(scripts_run_where_their_keys_are);
    RUN(keys_in_different_slots);
    RUN(a_pipeline_over_all_nodes);
    RUN(a_transaction_in_one_slot);
    RUN(routes);
    RUN(all_primaries);
    RUN(administration);
    RUN(addresses_that_are_mapped);
    RUN(replicas_that_there_are_none_of);
    RUN(a_slot_that_moves);
    rs_client_free(client);
}
