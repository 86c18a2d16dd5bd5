/* The hook of each call, and the figures of each script. */
#include "support/check.h"
#include "support/server.h"

enum { MOST = 16 };

typedef struct {
    int freed, count;
    rs_call_event events[MOST];
    char names[MOST][64], nodes[MOST][64], shas[MOST][41];
} listener;

static server *redis;

static void hear(void *context, const rs_call_event *event) {
    listener *l = context;
    CHECK_INT(l->freed, 0);
    CHECK_INT(event->size, sizeof *event);
    CHECK(l->count < MOST);
    l->events[l->count] = *event;
    snprintf(l->names[l->count], 64, "%.*s", (int)event->name_len, event->name);
    if (event->node) snprintf(l->nodes[l->count], 64, "%.*s", (int)event->node_len, event->node);
    if (event->sha) snprintf(l->shas[l->count], 41, "%s", event->sha);
    l->count++;
}

static void forget(void *context) { ((listener *)context)->freed++; }

static rs_client *client_of(listener *l) {
    rs_options *options = rs_options_new();
    rs_client *client = NULL;
    CHECK_OK(rs_options_set_call_timeout_ms(options, 60000, &err));
    CHECK_OK(rs_options_set_call_hook(options, hear, l, forget, &err));
    CHECK_OK(rs_options_set_script_stats(options, 10, &err));
    CHECK_OK(rs_client_open(server_tcp_url(redis), options, &client, &err));
    rs_options_free(options);
    return client;
}

static void each_call_is_told_of(void) {
    listener l = {0};
    rs_client *client = client_of(&l);
    rs_script *script = NULL, *named = NULL;
    CHECK_INT(l.count, 0);
    CHECK_OK(rs_script_register(client, "return 1", 8, NULL, &script, &err));
    CHECK_OK(rs_script_register(client, "return 1", 8, RS_SCRIPT_OPTIONS(.name = "one", .name_len = 3), &named, &err));
    const char *sha = rs_script_sha(script);
    CHECK_OK(rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL, &err));
    CHECK_OK(rs_script_call(named, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL, &err));
    do_command(client, "SET", "k", "v", NULL);
    const char *wrong[] = {"HGET", "k", "f"};
    CHECK_FAILS(RS_ERR_SERVER, "WRONGTYPE", rs_client_command(client, 3, wrong, NULL, NULL, NULL, &err));
    CHECK_INT(l.count, 4);
    CHECK_TEXT(l.names[0], sha);
    CHECK_TEXT(l.shas[1], sha);
    CHECK_TEXT(l.names[1], "one");
    CHECK_TEXT(l.names[2], "SET");
    CHECK_NULL(l.events[2].sha);
    for (int i = 0; i < 4; i++) {
        const rs_call_event *e = &l.events[i];
        CHECK_INT(e->kind, i < 2 ? RS_CALL_KIND_SCRIPT : RS_CALL_KIND_COMMAND);
        CHECK_INT(e->status, i < 3 ? RS_OK : RS_ERR_SERVER);
        CHECK_INT(e->reason, i < 3 ? 0 : RS_REASON_SERVER);
        CHECK(e->attempts == 1 && e->items == 1 && e->bytes_sent > 0 && e->bytes_received > 0 && e->duration_ns > 0);
        CHECK_TEXT(l.nodes[i], server_tcp_url(redis) + strlen("redis://"));
    }
    rs_script_free(script);
    rs_script_free(named);
    rs_client_free(client);
    CHECK_INT(l.freed, 1);
}

static const rs_reply *of(const rs_reply *map, const char *key) {
    for (size_t i = 0; i + 1 < rs_reply_len(map); i += 2) {
        if (strcmp(rs_reply_string(rs_reply_element(map, i), NULL), key) == 0) return rs_reply_element(map, i + 1);
    }
    FAIL("there is no %s", key);
}

static void check_figures(const rs_reply *figures, int64_t calls) {
    CHECK_INT(rs_reply_type(figures), RS_REPLY_ARRAY);
    CHECK_INT(rs_reply_len(figures), 1);
    const rs_reply *map = rs_reply_element(figures, 0);
    CHECK_INT(rs_reply_type(map), RS_REPLY_MAP);
    CHECK_BYTES(of(map, "name"), "one", 3);
    CHECK_INT(rs_reply_integer(of(map, "calls")), calls);
    CHECK_INT(rs_reply_integer(of(map, "loads")), 1);
    CHECK_INT(rs_reply_integer(of(map, "errors")), 0);
    CHECK_INT(rs_reply_integer(of(map, "indeterminate")), 0);
    const rs_reply *latency = of(map, "latency"), *buckets = of(latency, "buckets");
    CHECK_INT(rs_reply_integer(of(latency, "count")), calls);
    CHECK(rs_reply_integer(of(latency, "p50_us")) > 0);
    CHECK(rs_reply_integer(of(latency, "max_us")) >= rs_reply_integer(of(latency, "p99_us")));
    int64_t counted = 0;
    for (size_t i = 1; i < rs_reply_len(buckets); i += 2) counted += rs_reply_integer(rs_reply_element(buckets, i));
    CHECK_INT(counted, calls);
}

static void scripts_have_figures(void) {
    listener l = {0};
    rs_client *client = client_of(&l);
    rs_script *script = NULL;
    rs_reply *figures = NULL;
    CHECK_OK(rs_client_script_stats(client, &figures, &err));
    CHECK_INT(rs_reply_len(figures), 0);
    rs_reply_free(figures);
    CHECK_OK(rs_script_register(client, "return 1", 8, RS_SCRIPT_OPTIONS(.name = "one", .name_len = 3), &script, &err));
    for (int i = 0; i < 5; i++) CHECK_OK(rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, NULL, &err));
    CHECK_OK(rs_client_script_stats(client, &figures, &err));
    check_figures(figures, 5);
    rs_reply_free(figures);

    /* The same packed: for bindings. */
    unsigned char call[14] = {7};
    call[12] = RS_PACKED_SCRIPT_STATS;
    rs_queue *queue = NULL;
    rs_completion done;
    size_t count = 0;
    CHECK_OK(rs_queue_new(10, 0, &queue, &err));
    CHECK_OK(rs_client_submit_packed(client, 0, NULL, (const char *)call, sizeof call, queue, &err));
    CHECK_OK(rs_queue_poll(queue, &done, 1, 60000, &count, &err));
    CHECK_INT(count, 1);
    CHECK_INT(done.status, RS_OK);
    check_figures(done.reply, 5);
    rs_reply_free(done.reply);
    call[12] = RS_PACKED_REAUTHENTICATE;
    CHECK_OK(rs_client_submit_packed(client, 0, NULL, (const char *)call, sizeof call, queue, &err));
    CHECK_OK(rs_queue_poll(queue, &done, 1, 60000, &count, &err));
    CHECK_INT(count, 1);
    CHECK_INT(done.status, RS_ERR_INVALID_ARGUMENT);
    rs_error_free(done.error);
    rs_queue_free(queue);
    rs_script_free(script);
    rs_client_free(client);
}

int main(void) {
    redis = server_start();
    RUN(each_call_is_told_of);
    RUN(scripts_have_figures);
}
