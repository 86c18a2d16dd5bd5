/* RS_SCRIPT_ONCE: calls that happen once per token, alone, in pipelines and transactions, submitted and packed. */
#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/server.h"

static server *one;
static rs_client *client, *other;
static rs_script *add;
static rs_queue *queue;

static const char lua[] = "return redis.call('INCRBY', KEYS[1], ARGV[1])";
static const char *const n[] = {"n"}, *const five[] = {"5"}, *const six[] = {"6"};

static rs_script *script_with(const rs_script_options *options) {
    rs_script *script = NULL;
    CHECK_OK(rs_script_register(NULL, lua, strlen(lua), options, &script, &err));
    return script;
}

static const rs_call_options *token_of(rs_call_options *options, const char *token, size_t length) {
    const rs_call_options nothing = RS_CALL_OPTIONS_INIT;
    *options = nothing;
    options->token = token;
    options->token_len = length;
    return options;
}

#define TOKEN(text) token_of(&(rs_call_options){0}, text, strlen(text))

static int64_t call(const rs_script *script, rs_client *on, const char *const *args, const rs_call_options *options) {
    rs_reply *reply = NULL;
    CHECK_OK(rs_script_call(script, on, 1, n, NULL, 1, args, NULL, options, &reply, &err));
    const int64_t value = rs_reply_integer(reply);
    rs_reply_free(reply);
    return value;
}

static void single_calls(void) {
    do_command(client, "DEL", "n", NULL);
    CHECK_INT(call(add, client, five, NULL), 5);
    CHECK_INT(call(add, client, five, NULL), 10);
    for (int i = 0; i < 3; i++) CHECK_INT(call(add, i % 2 ? other : client, five, TOKEN("a token")), 15);
    CHECK_INT(call(add, client, five, token_of(&(rs_call_options){0}, "\0\xff", 2)), 20);
    CHECK_INT(call(add, client, five, token_of(&(rs_call_options){0}, "\0\xff", 2)), 20);
    CHECK_FAILS(RS_ERR_TOKEN_MISMATCH, "RSTOKEN",
                rs_script_call(add, client, 1, n, NULL, 1, six, NULL, TOKEN("a token"), NULL, &err));
    char text[257];
    memset(text, 'x', sizeof text);
    CHECK_INT(call(add, client, five, token_of(&(rs_call_options){0}, text, 256)), 25);
    const rs_call_options *const refused[] = {token_of(&(rs_call_options){0}, text, 257),
                                              token_of(&(rs_call_options){0}, "", 0),
                                              RS_CALL_OPTIONS(.flags = RS_CALL_READ_ONLY,
                                                              .token = "t", .token_len = 1)};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "token",
                    rs_script_call(add, client, 1, n, NULL, 1, five, NULL, refused[i], NULL, &err));
    }
    /* Read-only it is the script as it was, which writes. */
    CHECK_FAILS(RS_ERR_SERVER, "", rs_script_call(add, client, 1, n, NULL, 1, five, NULL, READ_ONLY, NULL, &err));
}

static void check_replies(rs_reply *replies, int64_t first, int64_t second) {
    CHECK_INT(rs_reply_len(replies), 2);
    CHECK_INT(rs_reply_integer(rs_reply_element(replies, 0)), first);
    CHECK_INT(rs_reply_integer(rs_reply_element(replies, 1)), second);
    rs_reply_free(replies);
}

static void together(uint32_t flags, const char *name) {
    rs_pipeline *pipeline = NULL;
    rs_reply *replies = NULL;
    do_command(client, "SET", "n", "0", NULL);
    CHECK_OK(rs_pipeline_new(client, flags, &pipeline, &err));
    for (int i = 0; i < 2; i++) {
        CHECK_OK(rs_pipeline_script(pipeline, add, 1, n, NULL, 1, five, NULL, TOKEN(name), &err));
        CHECK_OK(rs_pipeline_script(pipeline, add, 1, n, NULL, 1, six, NULL, NULL, &err));
        CHECK_OK(rs_pipeline_exec(pipeline, NULL, &replies, &err));
        check_replies(replies, 5, i == 0 ? 11 : 17);
    }
    /* One token for all, by which each item has one. */
    do_command(client, "SET", "n", "0", NULL);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(rs_pipeline_script(pipeline, add, 1, n, NULL, 1, five, NULL, NULL, &err));
        CHECK_OK(rs_pipeline_script(pipeline, add, 1, n, NULL, 1, five, NULL, NULL, &err));
        CHECK_OK(rs_pipeline_exec(pipeline, TOKEN(name), &replies, &err));
        check_replies(replies, 5, 10);
    }
    CHECK_OK(rs_pipeline_script(pipeline, add, 1, n, NULL, 1, five, NULL, NULL, &err));
    CHECK_OK(rs_pipeline_command(pipeline, 2, (const char *const[]){"INCR", "n"}, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "item 1 (INCR)", rs_pipeline_exec(pipeline, TOKEN(name), NULL, &err));
    CHECK_INT(rs_pipeline_len(pipeline), 2);
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "item 1 (INCR)",
                rs_pipeline_submit(pipeline, TOKEN(name), queue, 1, &err));
    CHECK_INT(rs_pipeline_len(pipeline), 2);
    /* What was not accepted has no token of it. */
    rs_queue *full = NULL;
    CHECK_OK(rs_queue_new(1, 0, &full, &err));
    CHECK_OK(rs_client_submit(client, 1, (const char *const[]){"PING"}, NULL, NULL, full, 0, &err));
    rs_pipeline_clear(pipeline);
    CHECK_OK(rs_pipeline_script(pipeline, add, 1, n, NULL, 1, five, NULL, NULL, &err));
    CHECK_OK(rs_pipeline_script(pipeline, add, 1, n, NULL, 1, five, NULL, NULL, &err));
    CHECK_FAILS(RS_ERR_QUEUE_FULL, "", rs_pipeline_submit(pipeline, TOKEN(name), full, 1, &err));
    CHECK_INT(rs_pipeline_len(pipeline), 2);
    CHECK_OK(rs_pipeline_exec(pipeline, NULL, &replies, &err));
    check_replies(replies, 15, 20);
    rs_queue_free(full);
    rs_pipeline_free(pipeline);
}

static void pipelines(void) {
    together(0, "pipeline");
}

static void transactions(void) {
    together(RS_PIPELINE_ATOMIC, "transaction");
}

static void submitted(void) {
    do_command(client, "DEL", "n", NULL);
    for (uint64_t i = 0; i < 2; i++) {
        rs_completion done;
        size_t count = 0;
        CHECK_OK(rs_script_submit(add, client, 1, n, NULL, 1, five, NULL, TOKEN("submitted"), queue, i, &err));
        CHECK_OK(rs_queue_poll(queue, &done, 1, 60000, &count, &err));
        CHECK_INT(count, 1);
        CHECK_INT(done.tag, i);
        CHECK_INT(done.status, RS_OK);
        CHECK_INT(rs_reply_integer(done.reply), 5);
        rs_reply_free(done.reply);
        rs_error_free(done.error);
    }
}

static void options_that_are_refused(void) {
    char prefix[257];
    memset(prefix, 'x', sizeof prefix);
    const struct {
        const rs_script_options *options;
        const char *part;
    } refused[] = {
        {RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE | RS_SCRIPT_IDEMPOTENT), "options.flags"},
        {RS_SCRIPT_OPTIONS(.flags = 8), "options.flags"},
        {RS_SCRIPT_OPTIONS(.token_lifetime_ms = 1000), "RS_SCRIPT_ONCE"},
        {RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_IDEMPOTENT, .reply_limit = 1000), "RS_SCRIPT_ONCE"},
        {RS_SCRIPT_OPTIONS(.token_prefix = "p", .token_prefix_len = 1), "RS_SCRIPT_ONCE"},
        {RS_SCRIPT_OPTIONS(.wait_replicas = 1), "RS_SCRIPT_ONCE"},
        {RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE, .token_lifetime_ms = 999), "lifetime"},
        {RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE, .token_lifetime_ms = UINT64_MAX), "lifetime"},
        {RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE, .reply_limit = 63), "replies"},
        {RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE, .reply_limit = UINT64_MAX), "replies"},
        {RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE, .token_prefix = "{", .token_prefix_len = 1), "prefix"},
        {RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE, .token_prefix = prefix, .token_prefix_len = 257), "prefix"},
        {RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE, .token_prefix_len = 1), "options.token_prefix"},
        {RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE, .wait_replicas = 1001), "replicas"},
        {RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE, .wait_timeout_ms = 1), "options.wait_timeout_ms"},
        {RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE, .wait_replicas = 1, .wait_timeout_ms = UINT32_MAX), "replicas"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        rs_script *script = NULL;
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, refused[i].part,
                    rs_script_register(NULL, lua, strlen(lua), refused[i].options, &script, &err));
        CHECK_NULL(script);
    }
}

static void options_that_have_an_effect(void) {
    do_command(client, "FLUSHALL", NULL);
    rs_script *script = script_with(RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE, .name = "add", .name_len = 3,
                                                      .token_lifetime_ms = 1000000, .token_prefix = "jobs:",
                                                      .token_prefix_len = 5));
    CHECK_TEXT(rs_script_name(script), "add");
    CHECK_INT(call(script, client, five, TOKEN("t")), 5);
    rs_reply *reply = command(client, "KEYS", "jobs:{*}:t", NULL);
    CHECK_INT(rs_reply_len(reply), 1);
    rs_reply *left = command(client, "PTTL", rs_reply_string(rs_reply_element(reply, 0), NULL), NULL);
    CHECK(rs_reply_integer(left) > 500000 && rs_reply_integer(left) <= 1000000);
    rs_reply_free(left);
    rs_reply_free(reply);
    rs_script_free(script);
    /* There is no replica. */
    script = script_with(RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE, .wait_replicas = 1, .wait_timeout_ms = 1));
    rs_error *error = NULL;
    const rs_status status = rs_script_call(script, client, 1, n, NULL, 1, five, NULL,
                                            RS_CALL_OPTIONS(.timeout_ms = 1000), NULL, &error);
    CHECK_INT(status, RS_ERR_NOT_REPLICATED);
    CHECK(rs_error_is_indeterminate(error) && !rs_error_is_not_executed(error));
    rs_error_free(error);
    rs_script_free(script);
    /* A reply that is longer than what is kept. */
    const char *const key = "k", *const length = "100";
    static const char rep[] = "return string.rep('x', ARGV[1])";
    CHECK_OK(rs_script_register(NULL, rep, strlen(rep), RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE, .reply_limit = 64),
                                &script, &err));
    CHECK_OK(rs_script_call(script, client, 1, &key, NULL, 1, &length, NULL, TOKEN("long"), NULL, &err));
    CHECK_FAILS(RS_ERR_REPLY_NOT_KEPT, "RSREPLY",
                rs_script_call(script, client, 1, &key, NULL, 1, &length, NULL, TOKEN("long"), NULL, &err));
    rs_script_free(script);
}

/* Functions of a library that is RS_LIBRARY_ONCE. */
static void functions(void) {
    static const char source[] =
        "#!lua name=lib\n"
        "redis.register_function('add', function(keys, args) return redis.call('INCRBY', keys[1], args[1]) end)\n"
        "redis.register_function{function_name='get', "
        "callback=function(keys) return redis.call('GET', keys[1]) + 0 end, flags={'no-writes'}}\n";
    const struct {
        const rs_library_options *options;
        const char *part;
    } refused[] = {
        {RS_LIBRARY_OPTIONS(.flags = RS_LIBRARY_ONCE | RS_LIBRARY_NAMED), "options.flags"},
        {RS_LIBRARY_OPTIONS(.flags = 4), "options.flags"},
        {RS_LIBRARY_OPTIONS(.token_lifetime_ms = 1000), "RS_LIBRARY_ONCE"},
        {RS_LIBRARY_OPTIONS(.flags = RS_LIBRARY_NAMED, .reply_limit = 1000), "RS_LIBRARY_ONCE"},
        {RS_LIBRARY_OPTIONS(.token_prefix = "p", .token_prefix_len = 1), "RS_LIBRARY_ONCE"},
        {RS_LIBRARY_OPTIONS(.wait_replicas = 1), "RS_LIBRARY_ONCE"},
        {RS_LIBRARY_OPTIONS(.flags = RS_LIBRARY_ONCE, .token_lifetime_ms = 999), "lifetime"},
        {RS_LIBRARY_OPTIONS(.flags = RS_LIBRARY_ONCE, .reply_limit = 63), "replies"},
        {RS_LIBRARY_OPTIONS(.flags = RS_LIBRARY_ONCE, .token_prefix = "{", .token_prefix_len = 1), "prefix"},
        {RS_LIBRARY_OPTIONS(.flags = RS_LIBRARY_ONCE, .token_prefix_len = 1), "options.token_prefix"},
        {RS_LIBRARY_OPTIONS(.flags = RS_LIBRARY_ONCE, .wait_replicas = 1001), "replicas"},
        {RS_LIBRARY_OPTIONS(.flags = RS_LIBRARY_ONCE, .wait_timeout_ms = 1), "options.wait_timeout_ms"},
    };
    rs_library *library = NULL;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, refused[i].part,
                    rs_library_register(NULL, source, strlen(source), refused[i].options, &library, &err));
        CHECK_NULL(library);
    }
    do_command(client, "FLUSHALL", NULL);
    CHECK_OK(rs_library_register(client, source, strlen(source),
                                 RS_LIBRARY_OPTIONS(.flags = RS_LIBRARY_ONCE, .token_lifetime_ms = 1000000,
                                                    .token_prefix = "jobs:", .token_prefix_len = 5),
                                 &library, &err));
    rs_script *take = NULL, *get = NULL;
    CHECK_OK(rs_library_function(library, "add", 3, NULL, &take, &err));
    CHECK_OK(rs_library_function(library, "get", 3, NULL, &get, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "RS_LIBRARY_ONCE",
                rs_library_function(library, "add", 3, RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE), &(rs_script *){NULL},
                                    &err));
    rs_library_free(library);
    CHECK_INT(call(take, client, five, NULL), 5);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(call(take, i % 2 ? other : client, five, TOKEN("job")), 10);
        do_command(client, "FUNCTION", "FLUSH", NULL);
    }
    CHECK_FAILS(RS_ERR_TOKEN_MISMATCH, "RSTOKEN",
                rs_script_call(take, client, 1, n, NULL, 1, six, NULL, TOKEN("job"), NULL, &err));
    CHECK_INT(call(get, client, five, READ_ONLY), 10);
    CHECK_INT(call(get, client, five, NULL), 10);
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "no-writes",
                rs_script_call(get, client, 1, n, NULL, 1, five, NULL, TOKEN("job"), NULL, &err));
    rs_reply *reply = command(client, "KEYS", "jobs:{*}:job", NULL);
    CHECK_INT(rs_reply_len(reply), 1);
    rs_reply *left = command(client, "PTTL", rs_reply_string(rs_reply_element(reply, 0), NULL), NULL);
    CHECK(rs_reply_integer(left) > 500000 && rs_reply_integer(left) <= 1000000);
    rs_reply_free(left);
    rs_reply_free(reply);
    rs_script_free(take);
    rs_script_free(get);
}

/* What a child of fork has from its parent makes no tokens that another has: one of two calls would not happen. */
static void children_have_tokens_of_their_own(void) {
    do_command(client, "SET", "n", "0", NULL);
    CHECK_INT(call(add, client, five, NULL), 5);
    for (int64_t i = 2; i < 12; i++) {
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            rs_client *own = open_client(server_url(one));
            const bool is_next = call(add, own, five, NULL) == 5 * i;
            rs_client_free(own);
            _exit(is_next ? 0 : 1);
        }
        int status = 0;
        CHECK_INT(waitpid(child, &status, 0), child);
        CHECK_INT(status, 0);
    }
    CHECK_INT(call(add, client, five, NULL), 60);
}

/* Appends to a packed buffer. */
static char packed[1024];
static size_t packed_len;

static void put(const void *bytes, size_t length) {
    memcpy(packed + packed_len, bytes, length);
    packed_len += length;
}

static void put_number(uint32_t number) {
    put(&number, sizeof number);
}

static void put_text(const char *text) {
    put_number((uint32_t)strlen(text));
    put(text, strlen(text));
}

static void put_head(uint64_t tag) {
    put(&tag, sizeof tag);
    put_number(0);
}

static void put_script(const char *token) {
    put((const uint8_t[]){RS_PACKED_SCRIPT, token ? RS_PACKED_TOKEN : 0}, 2);
    if (token) put_text(token);
    put_number(0);
    put_number(1);
    put_number(1);
    put_text("n");
    put_text("5");
}

static void packed_calls(void) {
    do_command(client, "DEL", "n", NULL);
    packed_len = 0;
    for (uint64_t tag = 0; tag < 2; tag++) {
        put_head(tag);
        put_script("packed");
    }
    for (uint64_t tag = 2; tag < 4; tag++) {
        put_head(tag);
        put((const uint8_t[]){RS_PACKED_PIPELINE, RS_PACKED_ATOMIC | RS_PACKED_TOKEN}, 2);
        put_text("all");
        put_number(2);
        put_script(NULL);
        put_script(NULL);
    }
    put_head(4);
    put_script(""); /* that is none */
    const rs_script *const scripts[] = {add};
    CHECK_OK(rs_client_submit_packed(client, 1, scripts, packed, packed_len, queue, &err));
    for (int left = 5; left > 0; left--) {
        rs_completion done;
        size_t count = 0;
        CHECK_OK(rs_queue_poll(queue, &done, 1, 60000, &count, &err));
        CHECK_INT(count, 1);
        CHECK_INT(done.status, done.tag == 4 ? RS_ERR_INVALID_ARGUMENT : RS_OK);
        if (done.tag < 2) CHECK_INT(rs_reply_integer(done.reply), 5);
        if (done.tag == 2 || done.tag == 3) CHECK_INT(rs_reply_integer(rs_reply_element(done.reply, 1)), 15);
        rs_reply_free(done.reply);
        rs_error_free(done.error);
    }
    packed_len = 0;
    put_head(1);
    put((const uint8_t[]){RS_PACKED_COMMAND, RS_PACKED_TOKEN}, 2);
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "flag",
                rs_client_submit_packed(client, 1, scripts, packed, packed_len, queue, &err));
}

int main(void) {
    one = server_start();
    client = open_client(server_url(one));
    other = open_client(server_url(one));
    CHECK_OK(rs_queue_new(100, 0, &queue, &err));
    add = script_with(RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE));
    /* Before there are threads: what is on the stack of one is lost in a child, which valgrind counts. */
    RUN(children_have_tokens_of_their_own);
    RUN(single_calls);
    RUN(pipelines);
    RUN(transactions);
    RUN(submitted);
    RUN(packed_calls);
    RUN(options_that_are_refused);
    RUN(options_that_have_an_effect);
    RUN(functions);
    rs_script_free(add);
    rs_client_free(client);
    rs_client_free(other);
    rs_queue_free(queue);
    server_stop(one);
    return 0;
}
