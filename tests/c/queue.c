/* The completion queue: submitting in every form, taking out in every form, and misuse of both. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/check.h"
#include "support/child.h"
#include "support/server.h"

static server *redis;
static rs_client *client;
static rs_script *multiply; /* of `client` */

static const char *const ping[] = {"PING"};
static const char multiply_lua[] = "return redis.call('GET', KEYS[1]) * ARGV[1]";

static rs_queue *queue_of(size_t capacity) {
    rs_queue *queue = NULL;
    CHECK_OK(rs_queue_new(capacity, 0, &queue, &err));
    return queue;
}

static rs_status submit_words(rs_client *to, rs_queue *queue, uint64_t tag, size_t count,
                              const char *const *words) {
    return rs_client_submit(to, count, words, NULL, NULL, queue, tag, NULL);
}

static void submit_ping(rs_client *to, rs_queue *queue, uint64_t tag) {
    CHECK_INT(submit_words(to, queue, tag, 1, ping), RS_OK);
}

/* The next completion, which must come. */
static rs_completion next_of(rs_queue *queue) {
    rs_completion completion;
    size_t count = 0;
    CHECK_OK(rs_queue_poll(queue, &completion, 1, 60000, &count, &err));
    CHECK_INT(count, 1);
    CHECK_INT(completion.reserved, 0);
    CHECK_INT(completion.status, completion.error ? rs_error_status(completion.error) : RS_OK);
    return completion;
}

static void release(rs_completion *completion) {
    rs_reply_free(completion->reply);
    rs_error_free(completion->error);
}

static void take_ping(rs_queue *queue, uint64_t tag) {
    rs_completion completion = next_of(queue);
    CHECK_INT(completion.tag, tag);
    CHECK_INT(completion.status, RS_OK);
    CHECK_STRING(completion.reply, "PONG");
    release(&completion);
}

static bool is_readable(rs_queue *queue) {
    struct pollfd fd = {.fd = rs_queue_fd(queue), .events = POLLIN};
    return poll(&fd, 1, 0) == 1 && (fd.revents & POLLIN);
}

/* ---- One call at a time ---- */

static void every_form_of_submitting(void) {
    rs_queue *queue = queue_of(16);
    rs_pipeline *pipeline = NULL;
    const char *keys[] = {"foo"}, *args[] = {"5"}, *set[] = {"SET", "foo", "2"};
    CHECK_OK(rs_client_submit(client, 3, set, NULL, NULL, queue, 1, &err));
    CHECK_OK(rs_script_submit(multiply, NULL, 1, keys, NULL, 1, args, NULL, NULL, queue, 2, &err));
    CHECK_OK(rs_script_submit(multiply, client, 1, keys, NULL, 1, args, NULL, READ_ONLY, queue, 3, &err));
    CHECK_OK(rs_pipeline_new(client, RS_PIPELINE_ATOMIC, &pipeline, &err));
    CHECK_OK(rs_pipeline_command(pipeline, 3, set, NULL, NULL, &err));
    CHECK_OK(rs_pipeline_script(pipeline, multiply, 1, keys, NULL, 1, args, NULL, NULL, &err));
    CHECK_OK(rs_pipeline_submit(pipeline, NULL, queue, UINT64_MAX, &err));
    CHECK_INT(rs_pipeline_len(pipeline), 0);
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "empty", rs_pipeline_submit(pipeline, NULL, queue, 5, &err));
    CHECK_OK(rs_script_submit(multiply, NULL, 1, args, NULL, 1, args, NULL, NULL, queue, 6, &err));
    for (int i = 0; i < 5; i++) {
        rs_completion completion = next_of(queue);
        switch (completion.tag) {
        case 1: CHECK_STRING(completion.reply, "OK"); break;
        case 2:
        case 3: CHECK_INT(rs_reply_integer(completion.reply), 10); break;
        case UINT64_MAX:
            CHECK_INT(rs_reply_len(completion.reply), 2);
            CHECK_INT(rs_reply_integer(rs_reply_element(completion.reply, 1)), 10);
            break;
        case 6:
            CHECK_INT(completion.status, RS_ERR_SERVER);
            CHECK_NULL(completion.reply);
            break;
        default: FAIL("tag %" PRIu64, completion.tag);
        }
        release(&completion);
    }
    CHECK_INT(rs_queue_len(queue), 0);
    rs_pipeline_free(pipeline);
    rs_queue_free(queue);
}

static void misuse(void) {
    rs_queue *queue = (void *)&redis;
    const char *multi[] = {"MULTI"};
    size_t count = 7;
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "capacity", rs_queue_new(0, 0, &queue, &err));
    CHECK_NULL(queue);
    queue = queue_of(1);
    CHECK_FAILS(RS_ERR_COMMAND_REFUSED, "MULTI", rs_client_submit(client, 1, multi, NULL, NULL, queue, 1, &err));
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "", rs_client_submit(client, 0, multi, NULL, NULL, queue, 1, &err));
    CHECK_INT(rs_queue_len(queue), 0);
    submit_ping(client, queue, 1);
    CHECK_INT(rs_queue_len(queue), 1);
    CHECK_FAILS(RS_ERR_QUEUE_FULL, "1 of 1", rs_client_submit(client, 1, ping, NULL, NULL, queue, 2, &err));
    take_ping(queue, 1);
    CHECK_OK(rs_queue_poll(queue, NULL, 0, RS_FOREVER, &count, &err)); /* nothing is asked for: it does not wait */
    CHECK_INT(count, 0);
    CHECK_OK(rs_client_cancel(client, queue, 1, &count, &err));
    CHECK_INT(count, 0);
    rs_client *closed = open_client(server_url(redis));
    rs_client_close(closed);
    CHECK_FAILS(RS_ERR_CLOSED, "closed", rs_client_submit(closed, 1, ping, NULL, NULL, queue, 2, &err));
    CHECK_INT(rs_queue_len(queue), 0);
    rs_client_free(closed);
    rs_queue_free(queue);
}

static void a_call_is_called_off(void) {
    rs_client *own = open_client(server_url(redis));
    rs_queue *queue = queue_of(4);
    size_t count = 0;
    do_command(own, "PING", NULL);
    const char *wait[] = {"BLPOP", "none", "0"};
    CHECK_INT(submit_words(own, queue, 9, 3, wait), RS_OK);
    CHECK_OK(rs_client_cancel(client, queue, 9, &count, &err)); /* another's */
    CHECK_INT(count, 0);
    CHECK_OK(rs_client_cancel(own, queue, 9, &count, &err));
    CHECK_INT(count, 1);
    rs_completion completion = next_of(queue);
    CHECK(completion.status == RS_ERR_INDETERMINATE || completion.status == RS_ERR_CANCELLED);
    CHECK(rs_error_is_indeterminate(completion.error) != rs_error_is_not_executed(completion.error));
    release(&completion);
    CHECK_OK(rs_client_cancel(own, queue, 9, NULL, &err));
    rs_client_free(own);
    rs_queue_free(queue);
}

/* ---- The descriptor ---- */

static void the_descriptor_is_readable_while_there_is_something(void) {
    rs_queue *queue = queue_of(64);
    struct pollfd fd = {.fd = rs_queue_fd(queue), .events = POLLIN};
    for (int round = 0; round < 100; round++) {
        CHECK(!is_readable(queue));
        submit_ping(client, queue, 1);
        submit_ping(client, queue, 2);
        CHECK_INT(poll(&fd, 1, 60000), 1);
        take_ping(queue, 1);
        take_ping(queue, 2);
    }
    /* An event loop may read for itself. */
    char bytes[8];
    submit_ping(client, queue, 1);
    CHECK_INT(poll(&fd, 1, 60000), 1);
    CHECK(read(fd.fd, bytes, sizeof bytes) > 0);
    CHECK(!is_readable(queue));
    take_ping(queue, 1);
    submit_ping(client, queue, 2);
    CHECK_INT(poll(&fd, 1, 60000), 1);
    take_ping(queue, 2);
    rs_queue_free(queue);
}

/* Not allowed, and yet nothing but the descriptor suffers. */
static void a_descriptor_that_was_shut_down_or_closed(void) {
    rs_queue *queue = queue_of(64);
    CHECK(shutdown(rs_queue_fd(queue), SHUT_RDWR) == 0);
    for (uint64_t tag = 0; tag < 3; tag++) {
        submit_ping(client, queue, tag);
        take_ping(queue, tag);
    }
    /* Another descriptor takes the number, so that freeing the queue closes what is still open. */
    CHECK(dup2(STDERR_FILENO, rs_queue_fd(queue)) >= 0);
    submit_ping(client, queue, 4);
    take_ping(queue, 4);
    rs_queue_free(queue);
}

/* ---- The callback ---- */

typedef struct {
    rs_queue *queue;
    rs_client *to_close;
    pthread_t thread;
    int left, seen;
} chain;

static void submit_next(void *context, const rs_completion *completion) {
    chain *c = context;
    CHECK(pthread_equal(pthread_self(), c->thread));
    CHECK_INT(completion->status, RS_OK);
    rs_reply_free(completion->reply);
    c->seen++;
    if (c->left-- > 0) submit_ping(client, c->queue, completion->tag + 1);
    else if (c->to_close) {
        rs_client_free(c->to_close);
        c->to_close = NULL;
    }
}

static void a_callback_submits_and_frees(void) {
    chain c = {.queue = queue_of(2), .to_close = open_client(server_url(redis)), .thread = pthread_self(), .left = 20};
    submit_ping(c.to_close, c.queue, 1);
    while (rs_queue_len(c.queue) > 0) {
        size_t count = 0;
        CHECK_OK(rs_queue_dispatch(c.queue, 8, 60000, submit_next, &c, &count, &err));
        CHECK_INT(count, 1);
    }
    CHECK_INT(c.seen, 21);
    CHECK_NULL(c.to_close);
    size_t count = 7;
    CHECK_OK(rs_queue_dispatch(c.queue, 8, 0, submit_next, &c, &count, &err));
    CHECK_INT(count, 0);
    rs_queue_free(c.queue);
}

/* ---- Packed ---- */

typedef struct {
    char bytes[4096];
    size_t len;
} packed;

static void put(packed *p, const void *bytes, size_t len) {
    CHECK(p->len + len <= sizeof p->bytes);
    memcpy(p->bytes + p->len, bytes, len);
    p->len += len;
}

static void put_u8(packed *p, uint8_t value) { put(p, &value, sizeof value); }
static void put_u32(packed *p, uint32_t value) { put(p, &value, sizeof value); }

static void put_head(packed *p, uint64_t tag, uint32_t timeout_ms) {
    put(p, &tag, sizeof tag);
    put_u32(p, timeout_ms);
}

static void put_text(packed *p, const char *text) {
    put_u32(p, (uint32_t)strlen(text));
    put(p, text, strlen(text));
}

static void put_command(packed *p, uint32_t count, const char *const *words) {
    put_u8(p, RS_PACKED_COMMAND);
    put_u8(p, 0);
    put_u32(p, count);
    for (uint32_t i = 0; i < count; i++) put_text(p, words[i]);
}

static void put_script(packed *p, uint8_t flags, uint32_t index, const char *key, const char *arg) {
    put_u8(p, RS_PACKED_SCRIPT);
    put_u8(p, flags);
    put_u32(p, index);
    put_u32(p, 1);
    put_u32(p, 1);
    put_text(p, key);
    put_text(p, arg);
}

static void put_pipeline(packed *p, uint8_t flags, uint32_t count) {
    put_u8(p, RS_PACKED_PIPELINE);
    put_u8(p, flags);
    put_u32(p, count);
}

/* What has been read of a packed buffer. */
typedef struct {
    const char *at, *end;
} reader;

static void get(reader *r, void *place, size_t len) {
    CHECK((size_t)(r->end - r->at) >= len);
    memcpy(place, r->at, len);
    r->at += len;
}

static uint8_t get_u8(reader *r) {
    uint8_t value;
    return get(r, &value, sizeof value), value;
}
static uint32_t get_u32(reader *r) {
    uint32_t value;
    return get(r, &value, sizeof value), value;
}
static int32_t get_i32(reader *r) {
    int32_t value;
    return get(r, &value, sizeof value), value;
}
static int64_t get_i64(reader *r) {
    int64_t value;
    return get(r, &value, sizeof value), value;
}

/* Reads a string, which must be this one. */
static void expect_text(reader *r, const char *want) {
    const uint32_t len = get_u32(r);
    CHECK((size_t)(r->end - r->at) >= len);
    if (len != strlen(want) || memcmp(r->at, want, len) != 0) FAIL("\"%.*s\", want \"%s\"", (int)len, r->at, want);
    r->at += len;
}

static void skip_text(reader *r) {
    const uint32_t len = get_u32(r);
    CHECK((size_t)(r->end - r->at) >= len);
    r->at += len;
}

static void expect_head(reader *r, uint64_t tag, rs_status status, uint8_t flags) {
    CHECK_INT(get_u32(r), r->end - r->at);
    CHECK((uint64_t)get_i64(r) == tag);
    CHECK_INT(get_i32(r), status);
    CHECK_INT(get_u8(r), flags);
}

static rs_status submit_packed(rs_client *to, const packed *p, rs_queue *queue, rs_error **err) {
    const rs_script *scripts[] = {multiply, multiply};
    return rs_client_submit_packed(to, 2, scripts, p->bytes, p->len, queue, err);
}

/* Takes one completion out as bytes; they are valid until the next one is. */
static reader take_packed(rs_queue *queue) {
    static char buffer[8192];
    size_t used = 0, count = 0, needed = 7;
    CHECK_OK(rs_queue_poll_packed(queue, buffer, sizeof buffer, 1, 60000, &used, &count, &needed, &err));
    CHECK_INT(count, 1);
    CHECK_INT(needed, 0);
    return (reader){buffer, buffer + used};
}

static void calls_packed_together(void) {
    rs_queue *queue = queue_of(16);
    const char *set[] = {"SET", "foo", "2"}, *multi[] = {"MULTI"};
    packed p = {.len = 0};
    put_head(&p, 1, 0), put_command(&p, 3, set);
    put_head(&p, 2, 5000), put_script(&p, 0, 1, "foo", "5");
    put_head(&p, 3, 0), put_script(&p, RS_PACKED_READ_ONLY, 0, "foo", "6");
    put_head(&p, 4, 0), put_pipeline(&p, RS_PACKED_ATOMIC, 2);
    put_command(&p, 3, set), put_script(&p, 0, 0, "foo", "7");
    /* What is wrong with one of them is that one's completion. */
    put_head(&p, 5, 0), put_command(&p, 1, multi);
    put_head(&p, 6, 0), put_script(&p, 0, 2, "foo", "5");
    put_head(&p, 7, 0), put_command(&p, 0, NULL);
    put_head(&p, 8, 0), put_pipeline(&p, 0, 0);
    put_head(&p, 9, 0), put_pipeline(&p, 0, 2), put_command(&p, 3, set), put_script(&p, 0, 9, "foo", "5");
    CHECK_OK(submit_packed(client, &p, queue, &err));
    unsigned seen = 0;
    for (int i = 0; i < 9; i++) {
        rs_completion completion = next_of(queue);
        seen |= 1u << completion.tag;
        switch (completion.tag) {
        case 1: CHECK_STRING(completion.reply, "OK"); break;
        case 2: CHECK_INT(rs_reply_integer(completion.reply), 10); break;
        case 3: CHECK_INT(rs_reply_integer(completion.reply), 12); break;
        case 4: CHECK_INT(rs_reply_integer(rs_reply_element(completion.reply, 1)), 14); break;
        case 5: CHECK_INT(completion.status, RS_ERR_COMMAND_REFUSED); break;
        case 9: CHECK_HOLDS(rs_error_message(completion.error), "item 1"); /* fall through */
        default: CHECK_INT(completion.status, RS_ERR_INVALID_ARGUMENT);
        }
        release(&completion);
    }
    CHECK_INT(seen, 0x3fe);
    p.len = 0;
    CHECK_OK(submit_packed(client, &p, queue, &err)); /* no calls at all */
    CHECK_OK(rs_client_submit_packed(client, 0, NULL, NULL, 0, queue, &err));
    CHECK_INT(rs_queue_len(queue), 0);
    rs_queue_free(queue);
}

static void malformed_buffers(void) {
    rs_queue *queue = queue_of(16);
    const char *set[] = {"SET", "foo", "2"};
    packed whole = {.len = 0};
    put_head(&whole, 1, 0), put_pipeline(&whole, 0, 2);
    put_command(&whole, 3, set), put_script(&whole, 0, 0, "foo", "7");
    for (size_t len = 1; len < whole.len; len++) {
        /* Of just this size, so that a byte beyond is found out. */
        char *cut = malloc(len);
        CHECK(cut != NULL);
        memcpy(cut, whole.bytes, len);
        const rs_script *scripts[] = {multiply};
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "nothing was accepted",
                    rs_client_submit_packed(client, 1, scripts, cut, len, queue, &err));
        free(cut);
    }
    static const uint32_t counts[] = {4, 1000, 0x3fffffff, 0x40000000, 0x7fffffff, 0x80000000, 0xffffffff};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        packed p = {.len = 0};
        put_head(&p, 1, 0), put_u8(&p, RS_PACKED_COMMAND), put_u8(&p, 0), put_u32(&p, counts[i]);
        for (int word = 0; word < 3; word++) put_text(&p, set[word]);
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "nothing was accepted", submit_packed(client, &p, queue, &err));
        p.len = 0;
        put_head(&p, 1, 0), put_pipeline(&p, 0, counts[i]), put_command(&p, 3, set);
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "nothing was accepted", submit_packed(client, &p, queue, &err));
        for (int which = 0; which < 2; which++) {
            p.len = 0;
            put_head(&p, 1, 0), put_u8(&p, RS_PACKED_SCRIPT), put_u8(&p, 0), put_u32(&p, 0);
            put_u32(&p, which == 0 ? counts[i] : 1), put_u32(&p, which == 1 ? counts[i] : 1);
            put_text(&p, "foo"), put_text(&p, "7");
            CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "nothing was accepted", submit_packed(client, &p, queue, &err));
        }
        p.len = 0;
        put_head(&p, 1, 0), put_u8(&p, RS_PACKED_COMMAND), put_u8(&p, 0), put_u32(&p, 1);
        put_u32(&p, counts[i]), put(&p, "GET", 3); /* a string that says it is longer */
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "nothing was accepted", submit_packed(client, &p, queue, &err));
    }
    packed p = {.len = 0};
    put_head(&p, 1, 0), put_pipeline(&p, 0, 1), put_pipeline(&p, 0, 1), put_command(&p, 3, set);
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "pipeline inside", submit_packed(client, &p, queue, &err));
    for (int kind = RS_PACKED_ROUTED + 1; kind < 256; kind++) {
        p.len = 0;
        put_head(&p, 1, 0), put_command(&p, 3, set); /* a good one before it is not accepted either */
        put_head(&p, 2, 0), put_u8(&p, (uint8_t)kind), put_u8(&p, 0), put_u32(&p, 0);
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "not known", submit_packed(client, &p, queue, &err));
    }
    for (int kind = RS_PACKED_SCRIPT_LOAD; kind <= RS_PACKED_SCRIPT_SHOW; kind++) {
        p.len = 0;
        put_head(&p, 1, 0), put_pipeline(&p, 0, 1), put_u8(&p, (uint8_t)kind), put_u8(&p, 0), put_u32(&p, 0);
        CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "inside a pipeline", submit_packed(client, &p, queue, &err));
    }
    /* Pipelines in pipelines, as deep as they go. */
    static char deep[600012];
    memset(deep, 0, 12);
    for (size_t at = 12; at + 6 <= sizeof deep; at += 6) {
        const uint32_t one = 1;
        deep[at] = RS_PACKED_PIPELINE, deep[at + 1] = 0;
        memcpy(deep + at + 2, &one, 4);
    }
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "", rs_client_submit_packed(client, 0, NULL, deep, sizeof deep, queue, &err));
    const rs_script *scripts[] = {multiply, NULL};
    CHECK_FAILS(RS_ERR_INVALID_ARGUMENT, "scripts",
                rs_client_submit_packed(client, 2, scripts, whole.bytes, whole.len, queue, &err));
    CHECK_INT(rs_queue_len(queue), 0);
    rs_queue_free(queue);
    queue = queue_of(1); /* room for one of two */
    p.len = 0;
    put_head(&p, 1, 0), put_command(&p, 3, set), put_head(&p, 2, 0), put_command(&p, 3, set);
    CHECK_FAILS(RS_ERR_QUEUE_FULL, "nothing was sent", submit_packed(client, &p, queue, &err));
    CHECK_INT(rs_queue_len(queue), 0);
    rs_queue_free(queue);
}

static void submit_eval(rs_client *to, rs_queue *queue, const char *lua) {
    const char *eval[] = {"EVAL", lua, "0"};
    CHECK_OK(rs_client_submit(to, 3, eval, NULL, NULL, queue, 1, &err));
}

static void packed_errors_with_details(void) {
    const char *fail[] = {"EVAL", "return redis.error_reply('MINE fails')", "0"}, *multi[] = {"MULTI"};
    rs_queue *queue = queue_of(4);
    rs_queue_set_packed_details(queue, true);
    packed p = {.len = 0};
    put_head(&p, 1, 0), put_command(&p, 1, multi);
    CHECK_OK(submit_packed(client, &p, queue, &err));
    reader r = take_packed(queue);
    expect_head(&r, 1, RS_ERR_COMMAND_REFUSED, RS_PACKED_NOT_EXECUTED);
    expect_text(&r, "");
    skip_text(&r);
    CHECK_INT(get_i32(&r), RS_REASON_ARGUMENT);
    CHECK_INT(get_i32(&r), -1);
    expect_text(&r, "");
    CHECK(r.at == r.end);
    p.len = 0;
    put_head(&p, 2, 0), put_pipeline(&p, 0, 2), put_command(&p, 3, fail), put_command(&p, 3, fail);
    CHECK_OK(submit_packed(client, &p, queue, &err));
    r = take_packed(queue);
    expect_head(&r, 2, RS_OK, 0);
    CHECK_INT(get_u8(&r), RS_REPLY_ARRAY);
    CHECK_INT(get_u32(&r), 2);
    for (int item = 0; item < 2; item++) {
        CHECK_INT(get_u8(&r), RS_REPLY_ERROR);
        CHECK_INT(get_i32(&r), RS_ERR_SERVER);
        CHECK_INT(get_u8(&r), 0);
        expect_text(&r, "MINE");
        skip_text(&r);
        CHECK_INT(get_i32(&r), RS_REASON_SERVER);
        CHECK_INT(get_i32(&r), item);
        CHECK(r.at < r.end && *r.at != 0); /* the server's name */
        skip_text(&r);
    }
    CHECK(r.at == r.end);
    rs_queue_free(queue);
}

static void every_type_of_reply_packed(void) {
    rs_options *options = rs_options_new();
    rs_client *resp3 = NULL;
    rs_queue *queue = queue_of(4);
    CHECK_OK(rs_options_set_protocol(options, RS_PROTOCOL_RESP3, &err));
    CHECK_OK(rs_client_open(server_url(redis), options, &resp3, &err));
    submit_eval(resp3, queue,
                "redis.setresp(3) return {7, 'text', redis.status_reply('FINE'), false, {double=1.5}, {map={k=1}}, "
                "{set={x=true}}, {big_number='123456789012345678901234567890'}, "
                "{verbatim_string={string='hi', format='mkd'}}, {{}}, redis.error_reply('MY own')}");
    reader r = take_packed(queue);
    expect_head(&r, 1, RS_OK, 0);
    CHECK_INT(get_u8(&r), RS_REPLY_ARRAY);
    CHECK_INT(get_u32(&r), 11);
    CHECK_INT(get_u8(&r), RS_REPLY_INTEGER);
    CHECK_INT(get_i64(&r), 7);
    CHECK_INT(get_u8(&r), RS_REPLY_STRING);
    expect_text(&r, "text");
    CHECK_INT(get_u8(&r), RS_REPLY_STATUS);
    expect_text(&r, "FINE");
    CHECK_INT(get_u8(&r), RS_REPLY_BOOLEAN);
    CHECK_INT(get_u8(&r), 0);
    CHECK_INT(get_u8(&r), RS_REPLY_DOUBLE);
    expect_text(&r, "1.5");
    CHECK_INT(get_u8(&r), RS_REPLY_MAP);
    CHECK_INT(get_u32(&r), 2);
    CHECK_INT(get_u8(&r), RS_REPLY_STRING);
    expect_text(&r, "k");
    CHECK_INT(get_u8(&r), RS_REPLY_INTEGER);
    CHECK_INT(get_i64(&r), 1);
    CHECK_INT(get_u8(&r), RS_REPLY_SET);
    CHECK_INT(get_u32(&r), 1);
    CHECK_INT(get_u8(&r), RS_REPLY_STRING);
    expect_text(&r, "x");
    CHECK_INT(get_u8(&r), RS_REPLY_BIG_NUMBER);
    expect_text(&r, "123456789012345678901234567890");
    CHECK_INT(get_u8(&r), RS_REPLY_VERBATIM);
    char format[3];
    get(&r, format, 3);
    CHECK(memcmp(format, "mkd", 3) == 0);
    expect_text(&r, "hi");
    CHECK_INT(get_u8(&r), RS_REPLY_ARRAY);
    CHECK_INT(get_u32(&r), 1);
    CHECK_INT(get_u8(&r), RS_REPLY_ARRAY);
    CHECK_INT(get_u32(&r), 0);
    CHECK_INT(get_u8(&r), RS_REPLY_ERROR);
    CHECK_INT(get_i32(&r), RS_ERR_SERVER);
    CHECK_INT(get_u8(&r), 0);
    expect_text(&r, "MY");
    skip_text(&r);
    CHECK(r.at == r.end);

    submit_eval(resp3, queue, "return redis.call('GET', 'none')");
    r = take_packed(queue);
    expect_head(&r, 1, RS_OK, 0);
    CHECK_INT(get_u8(&r), RS_REPLY_NIL);
    CHECK(r.at == r.end);

    submit_eval(resp3, queue, "redis.setresp(3) return true");
    r = take_packed(queue);
    expect_head(&r, 1, RS_OK, 0);
    CHECK_INT(get_u8(&r), RS_REPLY_BOOLEAN);
    CHECK_INT(get_u8(&r), 1);
    CHECK(r.at == r.end);

    submit_eval(resp3, queue, "return redis.error_reply('MY own error')");
    r = take_packed(queue);
    expect_head(&r, 1, RS_ERR_SERVER, 0);
    expect_text(&r, "MY");
    skip_text(&r);
    CHECK(r.at == r.end);

    rs_client_close(resp3);
    rs_client_free(resp3);
    rs_options_free(options);
    rs_queue_free(queue);
}

enum { DEPTH = 1000 };

static rs_queue *deep;

static void *take_deep(void *context) {
    reader r = take_packed(deep);
    expect_head(&r, 1, RS_OK, 0);
    for (int i = 0; i < DEPTH; i++) {
        CHECK_INT(get_u8(&r), RS_REPLY_ARRAY);
        CHECK_INT(get_u32(&r), i + 1 < DEPTH);
    }
    CHECK(r.at == r.end);
    return context;
}

/* However deep it is, it is packed on a thread whose stack would not hold a call for each of its arrays. */
static void a_deep_reply_on_a_small_stack(void) {
    enum { STACK = 96 << 10 };
    char lua[96];
    pthread_t thread;
    pthread_attr_t size;
    rs_options *options = rs_options_new();
    rs_client *own = NULL;
    deep = queue_of(1);
    snprintf(lua, sizeof lua, "local t = {} for i = 2, %d do t = {t} end return t", DEPTH);
    const char *eval[] = {"EVAL", lua, "0"};
    CHECK_OK(rs_options_set_max_reply_depth(options, 1024, &err));
    CHECK_OK(rs_options_set_connect_timeout_ms(options, 60000, &err));
    CHECK_OK(rs_options_set_call_timeout_ms(options, 60000, &err));
    CHECK_OK(rs_client_open(server_url(redis), options, &own, &err));
    CHECK_INT(submit_words(own, deep, 1, 3, eval), RS_OK);
    CHECK(pthread_attr_init(&size) == 0 && pthread_attr_setstacksize(&size, STACK) == 0);
    CHECK(pthread_create(&thread, &size, take_deep, NULL) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(pthread_attr_destroy(&size) == 0);
    rs_client_free(own);
    rs_queue_free(deep);
    rs_options_free(options);
}

static void a_buffer_that_is_too_small(void) {
    rs_queue *queue = queue_of(8);
    const char *echo[] = {"ECHO", "twenty bytes of text"};
    char buffer[256];
    size_t used = 7, count = 7, needed = 7;
    for (uint64_t tag = 1; tag <= 3; tag++) CHECK_INT(submit_words(client, queue, tag, 2, echo), RS_OK);
    WAIT_UNTIL(stat_of(client, RS_STAT_IN_FLIGHT) == 0 && is_readable(queue));
    CHECK_OK(rs_queue_poll_packed(queue, NULL, 0, 8, 60000, &used, &count, &needed, &err));
    CHECK(used == 0 && count == 0);
    const size_t one = 4 + 8 + 4 + 1 + 1 + 4 + 20;
    CHECK_INT(needed, one);
    CHECK_INT(rs_queue_len(queue), 3);
    CHECK(is_readable(queue));
    for (size_t capacity = 0; capacity < one; capacity++) {
        char *exact = malloc(capacity ? capacity : 1);
        CHECK(exact != NULL);
        CHECK_OK(rs_queue_poll_packed(queue, exact, capacity, 8, 0, &used, &count, &needed, &err));
        CHECK(used == 0 && count == 0 && needed == one);
        free(exact);
    }
    CHECK_OK(rs_queue_poll_packed(queue, buffer, 2 * one, 8, 0, &used, &count, &needed, &err));
    CHECK(used == 2 * one && count == 2 && needed == one);
    CHECK(is_readable(queue));
    CHECK_OK(rs_queue_poll_packed(queue, buffer, sizeof buffer, 8, 0, &used, &count, &needed, &err));
    CHECK(used == one && count == 1 && needed == 0);
    CHECK(!is_readable(queue));
    CHECK_OK(rs_queue_poll_packed(queue, buffer, sizeof buffer, 8, 0, &used, &count, &needed, &err));
    CHECK(used == 0 && count == 0 && needed == 0);
    submit_ping(client, queue, 1);
    CHECK_OK(rs_queue_poll_packed(queue, buffer, sizeof buffer, 8, 60000, NULL, NULL, NULL, &err));
    CHECK_INT(rs_queue_len(queue), 0);
    rs_queue_free(queue);
}

/* ---- Ends ---- */

/* The first of these calls does not end by itself. */
static rs_client *with_calls_under_way(rs_queue *queue, uint64_t count) {
    rs_client *own = open_client(server_url(redis));
    const char *wait[] = {"BLPOP", "none", "0"};
    CHECK_INT(submit_words(own, queue, 0, 3, wait), RS_OK);
    for (uint64_t tag = 1; tag < count; tag++) submit_ping(own, queue, tag);
    return own;
}

static void a_queue_freed_with_calls_under_way(void) {
    rs_queue *queue = queue_of(1000);
    rs_client *own = with_calls_under_way(queue, 1000);
    rs_queue_free(queue);
    do_command(own, "PING", NULL);
    rs_client_free(own);
}

static void a_client_freed_or_closed_with_calls_under_way(void) {
    rs_queue *queue = queue_of(1000);
    for (int closes = 0; closes < 2; closes++) {
        rs_client *own = with_calls_under_way(queue, 1000);
        if (closes) rs_client_close(own);
        rs_client_free(own);
        bool seen[1000] = {false};
        for (int i = 0; i < 1000; i++) {
            rs_completion completion = next_of(queue);
            CHECK(completion.tag < 1000 && !seen[completion.tag]);
            seen[completion.tag] = true;
            if (completion.tag == 0) CHECK(completion.status != RS_OK);
            release(&completion);
        }
        CHECK_INT(rs_queue_len(queue), 0);
    }
    rs_queue_free(queue);
}

enum { SUBMITTERS = 3, TAKERS = 3, EACH = 1000 };

typedef struct {
    rs_queue *queue;
    atomic_uchar seen[SUBMITTERS * EACH];
    atomic_int next, taken;
} crowd;

static void *submit_some(void *context) {
    crowd *c = context;
    const int first = atomic_fetch_add(&c->next, EACH);
    for (int tag = first; tag < first + EACH; tag++) {
        rs_status status;
        while ((status = submit_words(client, c->queue, (uint64_t)tag, 1, ping)) == RS_ERR_QUEUE_FULL) pause_ms(1);
        CHECK_INT(status, RS_OK);
    }
    return NULL;
}

static void *take_some(void *context) {
    crowd *c = context;
    while (atomic_load(&c->taken) < SUBMITTERS * EACH) {
        rs_completion completions[5];
        size_t count = 0;
        CHECK_OK(rs_queue_poll(c->queue, completions, 5, 20, &count, &err));
        for (size_t i = 0; i < count; i++) {
            CHECK_INT(completions[i].status, RS_OK);
            CHECK_INT(atomic_fetch_add(&c->seen[completions[i].tag], 1), 0);
            release(&completions[i]);
        }
        atomic_fetch_add(&c->taken, (int)count);
    }
    return NULL;
}

/* Puts completions back all the time, and so disturbs the others. */
static void *take_packed_some(void *context) {
    crowd *c = context;
    while (atomic_load(&c->taken) < SUBMITTERS * EACH) {
        char buffer[64];
        size_t used = 0, count = 0, needed = 0;
        CHECK_OK(rs_queue_poll_packed(c->queue, buffer, sizeof buffer, 50, 20, &used, &count, &needed, &err));
        CHECK(needed == 0 || used + needed > sizeof buffer);
        CHECK(rs_queue_len(c->queue) <= 100);
        reader r = {buffer, buffer + used};
        for (size_t i = 0; i < count; i++) {
            const uint32_t size = get_u32(&r);
            CHECK_INT(atomic_fetch_add(&c->seen[get_i64(&r)], 1), 0);
            r.at += size - 8;
        }
        atomic_fetch_add(&c->taken, (int)count);
    }
    return NULL;
}

static int open_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 1024; fd++) count += fcntl(fd, F_GETFD) != -1;
    return count;
}

/* A handle that is kept for long, as garbage collectors do, keeps no descriptors. */
static void a_closed_client_has_no_descriptors(void) {
    rs_queue *queue = queue_of(4);
    const int before = open_descriptors();
    rs_client *own = open_client(server_url(redis));
    submit_ping(own, queue, 1);
    take_ping(queue, 1);
    CHECK(open_descriptors() > before);
    rs_client_close(own);
    WAIT_UNTIL(open_descriptors() == before);
    rs_client_free(own);
    rs_queue_free(queue);
}

static void threads_submit_while_others_poll(void) {
    static crowd c;
    pthread_t threads[SUBMITTERS + TAKERS];
    c.queue = queue_of(100);
    for (int i = 0; i < SUBMITTERS; i++) CHECK(pthread_create(&threads[i], NULL, submit_some, &c) == 0);
    for (int i = SUBMITTERS; i < SUBMITTERS + TAKERS; i++)
        CHECK(pthread_create(&threads[i], NULL, i == SUBMITTERS ? take_packed_some : take_some, &c) == 0);
    for (int i = 0; i < SUBMITTERS + TAKERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_INT(rs_queue_len(c.queue), 0);
    rs_queue_free(c.queue);
}

/* ---- Processes ---- */

static rs_queue *shared;

/* The child may do what it likes with handles of its parent's, and the parent hears nothing of it. */
static void use_in_a_child(void) {
    rs_completion completion;
    size_t count = 7;
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_client_submit(client, 1, ping, NULL, NULL, shared, 2, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork",
                rs_script_submit(multiply, client, 0, NULL, NULL, 0, NULL, NULL, NULL, shared, 2, &err));
    CHECK_FAILS(RS_ERR_FORKED, "fork", rs_queue_poll(shared, &completion, 1, 0, &count, &err));
    CHECK_INT(count, 0);
    CHECK_INT(rs_queue_len(shared), 0);
    rs_queue_wake(shared);
    rs_queue_close(shared);
    CHECK(!rs_queue_is_closed(shared));
    rs_client_close(client);
    rs_client_free(client);
    rs_queue_free(shared);
}

static void leave_with_work_in_flight(void) {
    static rs_client *left; /* found by those who look for leaks */
    shared = queue_of(1000);
    left = with_calls_under_way(shared, 1000);
    CHECK(left != NULL);
    exit(0); /* with exit handlers, but nothing freed */
}

static void a_child_of_fork(void) {
    shared = queue_of(4);
    submit_ping(client, shared, 1);
    WAIT_UNTIL(is_readable(shared) && stat_of(client, RS_STAT_IN_FLIGHT) == 0);
    in_a_lost_child(use_in_a_child);
    CHECK(is_readable(shared));
    take_ping(shared, 1);
    CHECK(!is_readable(shared));
    submit_ping(client, shared, 2);
    take_ping(shared, 2);
    CHECK_INT(stat_of(client, RS_STAT_RECONNECTS), 0);
    rs_queue_free(shared);
}

int main(int argc, char **argv) {
    redis = server_start();
    if (argc > 1) leave_with_work_in_flight();
    client = open_client(server_url(redis));
    CHECK_OK(rs_script_register(client, multiply_lua, strlen(multiply_lua), NULL, &multiply, &err));
    RUN(a_closed_client_has_no_descriptors); /* first: what others have closed may still be closing */
    RUN(every_form_of_submitting);
    RUN(misuse);
    RUN(a_call_is_called_off);
    RUN(the_descriptor_is_readable_while_there_is_something);
    RUN(a_descriptor_that_was_shut_down_or_closed);
    RUN(a_callback_submits_and_frees);
    RUN(calls_packed_together);
    RUN(malformed_buffers);
    RUN(packed_errors_with_details);
    RUN(every_type_of_reply_packed);
    RUN(a_deep_reply_on_a_small_stack);
    RUN(a_buffer_that_is_too_small);
    RUN(a_queue_freed_with_calls_under_way);
    RUN(a_client_freed_or_closed_with_calls_under_way);
    RUN(threads_submit_while_others_poll);
    RUN(a_child_of_fork);
    rs_script_free(multiply);
    rs_client_free(client);
    (void)argv;
}
