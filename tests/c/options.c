/* rs_call_options and rs_script_options: what each function makes of them, and which it refuses. */
#include "support/check.h"
#include "support/server.h"

static server *one;
static rs_client *client, *control;
static rs_script *incr;
static rs_queue *queue;
static rs_pipeline *pipeline;

static const char incr_lua[] = "return redis.call('INCR', KEYS[1])";
static const char *const incr_n[] = {"INCR", "n"}, *const n[] = {"n"};

static rs_pipeline *pipeline_of(rs_client *client) {
    rs_pipeline *pipeline = NULL;
    CHECK_OK(rs_pipeline_new(client, 0, &pipeline, &err));
    return pipeline;
}

static rs_client *view_with(const rs_call_options *options) {
    rs_client *view = NULL;
    CHECK_OK(rs_client_with(client, options, &view, &err));
    return view;
}

/* That every function that takes options refuses these, with a message that holds `part`. Nothing is sent, and a
   pipeline keeps its items. */
static void refused(const rs_call_options *options, const char *part) {
    const uint64_t sent = stat_of(client, RS_STAT_BYTES_SENT);
    rs_client *view = NULL;
    rs_reply *reply = NULL;
#define REFUSED(call) CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, part, call)
    REFUSED(rs_client_with(client, options, &view, &err));
    REFUSED(rs_client_command(client, 2, incr_n, NULL, options, &reply, &err));
    REFUSED(rs_client_submit(client, 2, incr_n, NULL, options, queue, 1, &err));
    REFUSED(rs_script_call(incr, NULL, 1, n, NULL, 0, NULL, NULL, options, &reply, &err));
    REFUSED(rs_script_submit(incr, NULL, 1, n, NULL, 0, NULL, NULL, options, queue, 1, &err));
    CHECK_OK(rs_pipeline_command(pipeline, 2, incr_n, NULL, NULL, &err));
    REFUSED(rs_pipeline_command(pipeline, 2, incr_n, NULL, options, &err));
    REFUSED(rs_pipeline_script(pipeline, incr, 1, n, NULL, 0, NULL, NULL, options, &err));
    REFUSED(rs_pipeline_exec(pipeline, options, &reply, &err));
    REFUSED(rs_pipeline_submit(pipeline, options, queue, 1, &err));
#undef REFUSED
    CHECK_NULL(view);
    CHECK_NULL(reply);
    CHECK_INT(rs_pipeline_len(pipeline), 1);
    rs_pipeline_clear(pipeline);
    CHECK_INT(rs_queue_len(queue), 0);
    CHECK_INT(stat_of(client, RS_STAT_BYTES_SENT), sent);
}

static void what_no_version_knows(void) {
    rs_call_options options = RS_CALL_OPTIONS_INIT;
    const uint32_t sizes[] = {0, 1, sizeof options - 8, sizeof options - 1, 1025, UINT32_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        options.size = sizes[i];
        refused(&options, "options.size");
    }
    refused(RS_CALL_OPTIONS(.flags = 4), "options.flags");
    refused(RS_CALL_OPTIONS(.flags = RS_CALL_IDEMPOTENT | UINT32_C(1) << 31), "options.flags");
    refused(RS_CALL_OPTIONS(.timeout_ms = UINT64_C(365) * 24 * 60 * 60 * 1000 + 1), "year");
    refused(RS_CALL_OPTIONS(.read_from = -1), "options.read_from");
    refused(RS_CALL_OPTIONS(.read_from = RS_READ_FROM_REPLICA + 1), "options.read_from");
    refused(RS_CALL_OPTIONS(.route = -1), "options.route");
    refused(RS_CALL_OPTIONS(.route = RS_ROUTE_ALL + 1), "options.route");
    refused(TO_SLOT(16384), "16384");
    refused(TO_SLOT(65536 + 1), "65537");
    refused(RS_CALL_OPTIONS(.route_slot = 1), "options.route_slot");
    refused(RS_CALL_OPTIONS(.route = RS_ROUTE_ALL, .route_to = "k", .route_len = 1), "options.route_to");
    refused(RS_CALL_OPTIONS(.route_to = "", .route_len = 0), "options.route_to");
    refused(RS_CALL_OPTIONS(.route = RS_ROUTE_KEY, .route_len = 1), "options.route_to is NULL");
    refused(TO_NODE("\xff:1"), "UTF-8");
    refused(RS_CALL_OPTIONS(.reserved = 1), "options.reserved");
    refused(RS_CALL_OPTIONS(.token = "t", .token_len = 1), "token");
    refused(RS_CALL_OPTIONS(.token_len = 1), "options.token");
}

/* What has no meaning where it stands is refused, and not left out. */
static void what_makes_no_sense(void) {
    const rs_call_options *const more[] = {RS_CALL_OPTIONS(.timeout_ms = 1000),
                                           RS_CALL_OPTIONS(.read_from = RS_READ_FROM_REPLICA),
                                           RS_CALL_OPTIONS(.route = RS_ROUTE_ANY)};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "item", rs_pipeline_command(pipeline, 2, incr_n, NULL, more[i], &err));
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "item",
                    rs_pipeline_script(pipeline, incr, 1, n, NULL, 0, NULL, NULL, more[i], &err));
    }
    CHECK_OK(rs_pipeline_command(pipeline, 2, incr_n, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "RS_CALL_READ_ONLY", rs_pipeline_exec(pipeline, READ_ONLY, NULL, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "RS_CALL_READ_ONLY", rs_pipeline_submit(pipeline, READ_ONLY, queue, 1, &err));
    CHECK_INT(rs_pipeline_len(pipeline), 1);
    rs_pipeline_clear(pipeline);
    rs_client *view = NULL;
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "flags", rs_client_with(client, READ_ONLY, &view, &err));
    CHECK_NULL(view);
}

/* A struct of a later version, whose fields of now may do what they do. */
static void options_of_a_later_version(void) {
    struct {
        rs_call_options now;
        uint64_t later[2];
    } options = {.now = RS_CALL_OPTIONS_INIT};
    struct {
        rs_script_options now;
        uint64_t later;
    } named = {.now = RS_SCRIPT_OPTIONS_INIT};
    rs_reply *reply = NULL;
    rs_script *script = NULL;
    do_command(control, "DEL", "n", NULL);
    options.now.size = sizeof options;
    options.now.route = RS_ROUTE_ALL;
    CHECK_OK(rs_client_command(client, 1, (const char *[]){"PING"}, NULL, &options.now, &reply, &err));
    CHECK_INT(rs_reply_type(reply), RS_REPLY_MAP);
    rs_reply_free(reply);
    options.later[1] = 1;
    refused(&options.now, "does not know");
    options.now.size = sizeof options - 8; /* what is behind it is nobody's */
    CHECK_OK(rs_client_command(client, 1, (const char *[]){"PING"}, NULL, &options.now, NULL, &err));
    named.now.size = sizeof named;
    CHECK_OK(rs_script_register(NULL, "", 0, &named.now, &script, &err));
    rs_script_free(script);
    named.later = UINT64_C(1) << 56;
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "does not know", rs_script_register(NULL, "", 0, &named.now, &script, &err));
    named.now.size = sizeof named.now - 1;
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "size", rs_script_register(NULL, "", 0, &named.now, &script, &err));
    CHECK_NULL(script);
}

static void a_script_with_a_name(void) {
    rs_script *script = NULL;
    char long_name[257];
    memset(long_name, 'x', sizeof long_name);
    CHECK_OK(rs_script_register(NULL, "return 1", 8, RS_SCRIPT_OPTIONS(.name = "t\xc3\xa4xes!", .name_len = 6), &script,
                                &err));
    CHECK_TEXT(rs_script_name(script), "t\xc3\xa4xes");
    CHECK_TEXT(rs_script_sha(script), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    rs_script_free(script);
    CHECK_OK(
        rs_script_register(NULL, "return 1", 8, RS_SCRIPT_OPTIONS(.name = long_name, .name_len = 256), &script, &err));
    CHECK_INT(strlen(rs_script_name(script)), 256);
    rs_script_free(script);
    CHECK_OK(rs_script_register(NULL, "return 1", 8, RS_SCRIPT_OPTIONS(.name = ""), &script, &err));
    CHECK_TEXT(rs_script_name(script), "");
    rs_script_free(script);
#define REFUSED(text, length)                                                                                          \
    CHECK_FAILS(                                                                                                       \
        RS_ERR_INVALID_ARGUMENT, "options.name",                                                                       \
        rs_script_register(NULL, "return 1", 8, RS_SCRIPT_OPTIONS(.name = text, .name_len = length), &script, &err))
    REFUSED(long_name, 257);
    REFUSED("a\0b", 3);
    REFUSED("a\nb", 3);
    REFUSED("\xff", 1);
    REFUSED(NULL, 1);
#undef REFUSED
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "options.flags",
                rs_script_register(NULL, "", 0, RS_SCRIPT_OPTIONS(.flags = 8), &script, &err));
    CHECK_NULL(script);
}

/* Has writes wait, and with them the clients that send them. */
static void hold(void) { do_command(control, "CLIENT", "PAUSE", "600000", "WRITE", NULL); }

static bool somebody_waits(void) {
    rs_reply *list = command(control, "CLIENT", "LIST", NULL);
    const bool waits = strstr(rs_reply_string(list, NULL), "flags=b") != NULL;
    rs_reply_free(list);
    return waits;
}

/* What becomes of what was submitted, whose reply is lost with the connection; `n` is how often it ran. */
static rs_status lose(int64_t *n) {
    rs_completion done = {0};
    size_t count = 0;
    WAIT_UNTIL(somebody_waits());
    do_command(control, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", NULL);
    do_command(control, "CLIENT", "UNPAUSE", NULL);
    CHECK_OK(rs_queue_poll(queue, &done, 1, RS_FOREVER, &count, &err));
    CHECK_INT(count, 1);
    if (done.error != NULL) CHECK_INT(rs_error_reason(done.error), RS_REASON_CONNECTION_LOST);
    rs_reply_free(done.reply);
    rs_error_free(done.error);
    rs_reply *value = command(control, "GETDEL", "n", NULL);
    *n = rs_reply_type(value) == RS_REPLY_NIL ? 0 : strtoll(rs_reply_string(value, NULL), NULL, 10);
    rs_reply_free(value);
    return done.status;
}

/* That what `call` submits is sent again, or is not, when its reply was lost. It had not been executed, which this side
   cannot know. */
#define SENT_AGAIN(again, call)                                                                                        \
    do {                                                                                                               \
        int64_t times = -1;                                                                                            \
        hold();                                                                                                        \
        CHECK_OK(call);                                                                                                \
        CHECK_INT(lose(&times), (again) ? RS_OK : RS_ERR_INDETERMINATE);                                               \
        if (again) CHECK(times > 0);                                                                                   \
        else CHECK_INT(times, 0);                                                                                      \
    } while (0)

static void what_may_run_twice_is_sent_again(void) {
    const rs_call_options *const twice = RS_CALL_OPTIONS(.flags = RS_CALL_IDEMPOTENT),
                                 *const both = RS_CALL_OPTIONS(.flags = RS_CALL_IDEMPOTENT | RS_CALL_READ_ONLY);
    SENT_AGAIN(false, rs_client_submit(client, 2, incr_n, NULL, NULL, queue, 1, &err));
    SENT_AGAIN(true, rs_client_submit(client, 2, incr_n, NULL, twice, queue, 1, &err));
    SENT_AGAIN(true, rs_client_submit(client, 2, incr_n, NULL, READ_ONLY, queue, 1, &err)); /* its caller's word */
    SENT_AGAIN(true, rs_client_submit(client, 2, incr_n, NULL, both, queue, 1, &err));
    SENT_AGAIN(false, rs_script_submit(incr, NULL, 1, n, NULL, 0, NULL, NULL, NULL, queue, 1, &err));
    SENT_AGAIN(true, rs_script_submit(incr, NULL, 1, n, NULL, 0, NULL, NULL, twice, queue, 1, &err));

    /* Of a pipeline each item counts, */
    CHECK_OK(rs_pipeline_command(pipeline, 2, incr_n, NULL, twice, &err));
    CHECK_OK(rs_pipeline_script(pipeline, incr, 1, n, NULL, 0, NULL, NULL, twice, &err));
    SENT_AGAIN(true, rs_pipeline_submit(pipeline, NULL, queue, 1, &err));
    CHECK_OK(rs_pipeline_command(pipeline, 2, incr_n, NULL, twice, &err));
    CHECK_OK(rs_pipeline_script(pipeline, incr, 1, n, NULL, 0, NULL, NULL, NULL, &err));
    SENT_AGAIN(false, rs_pipeline_submit(pipeline, NULL, queue, 1, &err));
    /* or the whole: but only where it is said. */
    CHECK_OK(rs_pipeline_command(pipeline, 2, incr_n, NULL, NULL, &err));
    SENT_AGAIN(true, rs_pipeline_submit(pipeline, twice, queue, 1, &err));
    rs_queue *closed = NULL;
    CHECK_OK(rs_queue_new(1, 0, &closed, &err));
    rs_queue_close(closed);
    CHECK_OK(rs_pipeline_command(pipeline, 2, incr_n, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_CLOSED, "queue", rs_pipeline_submit(pipeline, twice, closed, 1, &err));
    SENT_AGAIN(false, rs_pipeline_submit(pipeline, NULL, queue, 1, &err));
    rs_queue_free(closed);
}

/* The same source, idempotent in one registration and not in the other. */
static void one_items_word_is_not_anothers(void) {
    rs_script *twice = NULL;
    CHECK_OK(rs_script_register(client, incr_lua, strlen(incr_lua), RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_IDEMPOTENT),
                                &twice, &err));
    CHECK_OK(rs_pipeline_script(pipeline, twice, 1, n, NULL, 0, NULL, NULL, NULL, &err));
    CHECK_OK(rs_pipeline_script(pipeline, twice, 1, n, NULL, 0, NULL, NULL, NULL, &err));
    SENT_AGAIN(true, rs_pipeline_submit(pipeline, NULL, queue, 1, &err));
    CHECK_OK(rs_pipeline_script(pipeline, twice, 1, n, NULL, 0, NULL, NULL, NULL, &err));
    CHECK_OK(rs_pipeline_script(pipeline, incr, 1, n, NULL, 0, NULL, NULL, NULL, &err));
    SENT_AGAIN(false, rs_pipeline_submit(pipeline, NULL, queue, 1, &err));
    rs_script_free(twice);
}

/* Read-only, a script is stopped at its write, and whose first line promises none is refused by its first line. */
static void read_only_scripts(void) {
    static const char writes[] = "#!lua\nreturn 1";
    rs_script *writer = NULL;
    rs_reply *replies = NULL;
    CHECK_OK(rs_script_register(client, writes, strlen(writes), NULL, &writer, &err));
    CHECK_FAILS(RS_ERR_SERVER, "rite", rs_script_call(incr, NULL, 1, n, NULL, 0, NULL, NULL, READ_ONLY, NULL, &err));
    CHECK_FAILS(RS_ERR_NOT_READ_ONLY, "no-writes",
                rs_script_call(writer, NULL, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, NULL, &err));
    CHECK_FAILS(RS_ERR_NOT_READ_ONLY, "no-writes",
                rs_script_submit(writer, NULL, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, queue, 1, &err));
    CHECK_FAILS(RS_ERR_NOT_READ_ONLY, "no-writes",
                rs_pipeline_script(pipeline, writer, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, &err));
    CHECK_OK(rs_pipeline_script(pipeline, incr, 1, n, NULL, 0, NULL, NULL, READ_ONLY, &err));
    CHECK_OK(rs_pipeline_script(pipeline, incr, 1, n, NULL, 0, NULL, NULL, NULL, &err));
    CHECK_OK(rs_pipeline_exec(pipeline, NULL, &replies, &err));
    CHECK_INT(rs_reply_type(rs_reply_element(replies, 0)), RS_REPLY_ERROR);
    CHECK_INT(rs_reply_integer(rs_reply_element(replies, 1)), 1);
    rs_reply_free(replies);
    do_command(control, "DEL", "n", NULL);
    rs_script_free(writer);
}

/* On a busy machine the time may be over before the call is sent. */
static bool is_late(rs_status status) { return status == RS_ERR_INDETERMINATE || status == RS_ERR_TIMEOUT; }

/* The client waits ten minutes at least, these do not. */
static void a_deadline_of_the_calls_own(void) {
    const rs_call_options *const soon = RS_CALL_OPTIONS(.timeout_ms = 50);
    rs_error *err = NULL;
    rs_completion done = {0};
    size_t count = 0;
    hold();
#define LATE(call)                                                                                                     \
    do {                                                                                                               \
        CHECK(is_late(call));                                                                                          \
        CHECK_INT(rs_error_reason(err), RS_REASON_DEADLINE);                                                           \
        rs_error_free(err);                                                                                            \
    } while (0)
#define LATE_THERE(call)                                                                                               \
    do {                                                                                                               \
        CHECK_OK(call);                                                                                                \
        CHECK_OK(rs_queue_poll(queue, &done, 1, RS_FOREVER, &count, &err));                                            \
        CHECK(is_late(done.status));                                                                                   \
        CHECK_INT(rs_error_reason(done.error), RS_REASON_DEADLINE);                                                    \
        rs_error_free(done.error);                                                                                     \
    } while (0)
    LATE(rs_client_command(client, 2, incr_n, NULL, soon, NULL, &err));
    LATE(rs_script_call(incr, NULL, 1, n, NULL, 0, NULL, NULL, soon, NULL, &err));
    LATE(rs_script_call(incr, client, 1, n, NULL, 0, NULL, NULL, soon, NULL, &err));
    LATE_THERE(rs_client_submit(client, 2, incr_n, NULL, soon, queue, 1, &err));
    LATE_THERE(rs_script_submit(incr, NULL, 1, n, NULL, 0, NULL, NULL, soon, queue, 1, &err));
    for (int submitted = 0; submitted < 2; submitted++) {
        CHECK_OK(rs_pipeline_command(pipeline, 2, incr_n, NULL, NULL, &err));
        if (submitted) LATE_THERE(rs_pipeline_submit(pipeline, soon, queue, 1, &err));
        else LATE(rs_pipeline_exec(pipeline, soon, NULL, &err));
        CHECK_INT(rs_pipeline_len(pipeline), 0);
    }
    /* Of a view it is every call's, and a call's own goes before it. */
    rs_client *hurried = view_with(soon), *both = NULL;
    LATE(rs_client_command(hurried, 2, incr_n, NULL, NULL, NULL, &err));
    LATE(rs_client_command(hurried, 2, incr_n, NULL, RS_CALL_OPTIONS(.route = RS_ROUTE_ANY), NULL, &err));
    CHECK_OK(rs_client_with(hurried, RS_CALL_OPTIONS(.read_from = RS_READ_FROM_PREFER_REPLICA), &both, &err));
    LATE(rs_script_call(incr, both, 1, n, NULL, 0, NULL, NULL, NULL, NULL, &err));
    do_command(control, "CLIENT", "UNPAUSE", NULL);
    CHECK_OK(rs_client_command(hurried, 2, incr_n, NULL, RS_CALL_OPTIONS(.timeout_ms = 600000), NULL, &err));
    rs_client_free(both);
    rs_client_free(hurried);
    do_command(control, "DEL", "n", NULL);
}

/* `ROLE` says "master" or "slave". */
static void check_role(const rs_reply *reply, const char *want) { CHECK_STRING(rs_reply_element(reply, 0), want); }

static void reading_from_a_replica(void) {
    static const char lua[] = "return {redis.call('INFO', 'replication'):match('role:(%a+)')}";
    const rs_call_options *const there = RS_CALL_OPTIONS(.flags = RS_CALL_READ_ONLY, .read_from = RS_READ_FROM_REPLICA);
    const char *const role[] = {"ROLE"};
    server *follower = server_start();
    rs_client *replica = open_client(server_url(follower)), *client = open_client(server_tcp_url(one));
    rs_pipeline *pipeline = pipeline_of(client);
    rs_script *script = NULL;
    rs_reply *reply = NULL;
    char port[8];
    snprintf(port, sizeof port, "%d", server_port(one));
    do_command(replica, "REPLICAOF", "127.0.0.1", port, NULL);
    bool is_following = false;
    WAIT_UNTIL((reply = command(replica, "INFO", "replication", NULL),
                is_following = strstr(rs_reply_string(reply, NULL), "master_link_status:up") != NULL,
                rs_reply_free(reply), is_following));
    CHECK_OK(rs_script_register(client, lua, strlen(lua), NULL, &script, &err));

    const struct {
        const rs_call_options *options;
        const char *role;
    } ways[] = {{there, "slave"},
                {NULL, "master"},
                {READ_ONLY, "master"},                                              /* the client's */
                {RS_CALL_OPTIONS(.read_from = RS_READ_FROM_REPLICA), "master"}, /* it does not only read */
                {RS_CALL_OPTIONS(.flags = RS_CALL_IDEMPOTENT, .read_from = RS_READ_FROM_REPLICA), "master"},
                {RS_CALL_OPTIONS(.flags = RS_CALL_READ_ONLY, .read_from = RS_READ_FROM_PREFER_REPLICA), "slave"},
                {RS_CALL_OPTIONS(.flags = RS_CALL_READ_ONLY, .read_from = RS_READ_FROM_PRIMARY), "master"}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        rs_completion done = {0};
        size_t count = 0;
        CHECK_OK(rs_client_command(client, 1, role, NULL, ways[i].options, &reply, &err));
        check_role(reply, ways[i].role);
        rs_reply_free(reply);
        CHECK_OK(rs_client_submit(client, 1, role, NULL, ways[i].options, queue, i, &err));
        CHECK_OK(rs_queue_poll(queue, &done, 1, RS_FOREVER, &count, &err));
        check_role(done.reply, ways[i].role);
        rs_reply_free(done.reply);
        CHECK_OK(rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, ways[i].options, &reply, &err));
        check_role(reply, ways[i].role);
        rs_reply_free(reply);
    }
    for (int submitted = 0; submitted < 2; submitted++) {
        const rs_call_options *const replicas = RS_CALL_OPTIONS(.read_from = RS_READ_FROM_REPLICA);
        CHECK_OK(rs_pipeline_command(pipeline, 1, role, NULL, READ_ONLY, &err));
        CHECK_OK(rs_pipeline_command(pipeline, 1, role, NULL, NULL, &err));
        CHECK_OK(rs_pipeline_script(pipeline, script, 0, NULL, NULL, 0, NULL, NULL, READ_ONLY, &err));
        CHECK_OK(rs_pipeline_script(pipeline, script, 0, NULL, NULL, 0, NULL, NULL, NULL, &err));
        if (submitted) {
            rs_completion done = {0};
            size_t count = 0;
            CHECK_OK(rs_pipeline_submit(pipeline, replicas, queue, 1, &err));
            CHECK_OK(rs_queue_poll(queue, &done, 1, RS_FOREVER, &count, &err));
            CHECK_NULL(done.error);
            reply = done.reply;
        } else {
            CHECK_OK(rs_pipeline_exec(pipeline, replicas, &reply, &err));
        }
        for (size_t i = 0; i < 4; i++) check_role(rs_reply_element(reply, i), i % 2 ? "master" : "slave");
        rs_reply_free(reply);
    }
    /* A write is refused by the replica, and nothing is hidden. */
    CHECK_FAILS(RS_ERR_SERVER, "READONLY", rs_client_command(client, 2, incr_n, NULL, there, NULL, &err));
    /* What waits has a connection of its own, to the primary. */
    const char *const waits[] = {"XREAD", "BLOCK", "0", "STREAMS", "stream", "0"};
    do_command(control, "XADD", "stream", "*", "field", "value", NULL);
    CHECK_OK(rs_client_command(client, 6, waits, NULL, there, &reply, &err));
    CHECK(rs_reply_len(reply) > 0);
    rs_reply_free(reply);
    rs_pipeline_free(pipeline);
    rs_script_free(script);
    rs_client_free(client);
    rs_client_free(replica);
    server_stop(follower);
}

int main(void) {
    one = server_start();
    client = open_client(server_tcp_url(one));
    control = open_client(server_url(one));
    pipeline = pipeline_of(client);
    CHECK_OK(rs_queue_new(10, 0, &queue, &err));
    CHECK_OK(rs_script_register(client, incr_lua, strlen(incr_lua), NULL, &incr, &err));
    CHECK_OK(rs_client_script_load(client, incr, &err));
    RUN(what_no_version_knows);
    RUN(what_makes_no_sense);
    RUN(options_of_a_later_version);
    RUN(a_script_with_a_name);
    RUN(what_may_run_twice_is_sent_again);
    RUN(one_items_word_is_not_anothers);
    RUN(read_only_scripts);
    RUN(a_deadline_of_the_calls_own);
    RUN(reading_from_a_replica);
    rs_script_free(incr);
    rs_pipeline_free(pipeline);
    rs_queue_free(queue);
    rs_client_free(client);
    rs_client_free(control);
}
