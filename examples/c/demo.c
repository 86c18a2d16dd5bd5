// What scripts/demo shows: one script, two servers, a lost cache, a pipeline, a transaction, a function, two errors
// and a call that happens once, with the round trips that each step took.
//
//     demo URL URL
//
// It sets the keys foo, visits, count and orders on the first server and foo on the second, and empties the first
// one's script cache and its libraries.
#define _POSIX_C_SOURCE 200809L

#include <inttypes.h>
#include <rs_script.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *bold = "", *plain = "";

static void title(const char *text) {
    printf("\n%s%s%s\n", bold, text, plain);
}

static void check(rs_status status, rs_error **err) {
    if (status != RS_OK) {
        fprintf(stderr, "demo: %s: %s\n", rs_status_name(status), rs_error_message(*err));
        exit(1);
    }
}

static void expect(const rs_reply *reply, int64_t value) {
    if (rs_reply_type(reply) != RS_REPLY_INTEGER || rs_reply_integer(reply) != value) {
        fprintf(stderr, "demo: this should have been the integer %" PRId64 "\n", value);
        exit(1);
    }
}

static rs_client *open_client(const char *url) {
    rs_client *client = NULL;
    rs_error *err = NULL;
    check(rs_client_open(url, NULL, &client, &err), &err);
    return client;
}

static rs_script *make_script(const char *lua) {
    rs_script *script = NULL;
    rs_error *err = NULL;
    check(rs_script_register(NULL, lua, strlen(lua), NULL, &script, &err), &err);
    return script;
}

// A step: what is done, the value that the server gave, and what it cost.
typedef struct {
    rs_client *client;
    uint64_t before[RS_STAT_COUNT];
} step;

static step begin(rs_client *client, const char *what) {
    step now = {.client = client};
    printf("  %-32s ", what);
    fflush(stdout);
    rs_client_stats(client, now.before, RS_STAT_COUNT);
    return now;
}

static uint64_t grown(step step, size_t which) {
    uint64_t now[RS_STAT_COUNT];
    rs_client_stats(step.client, now, RS_STAT_COUNT);
    return now[which] - step.before[which];
}

static void end_with_note(step step, const char *value, const char *note) {
    uint64_t trips = grown(step, RS_STAT_ROUND_TRIPS);
    printf("%-8s  %" PRIu64 " round trip%s%s%s\n", value, trips, trips == 1 ? "" : "s",
           note[0] == '\0' ? "" : trips == 1 ? "    " : "   ", note);
}

static void end(step step, const char *value) {
    bool repaired = grown(step, RS_STAT_NOSCRIPT_REPAIRS) != 0, loaded = grown(step, RS_STAT_SCRIPT_LOADS) != 0;
    end_with_note(step, value,
                  repaired ? "EVALSHA meets NOSCRIPT; SCRIPT LOAD and EVALSHA in one write"
                  : loaded ? "SCRIPT LOAD and EVALSHA in one write"
                           : "");
}

static void end_with_reply(step step, const rs_reply *reply) {
    char number[24];
    snprintf(number, sizeof number, "%" PRId64, rs_reply_integer(reply));
    const char *text = rs_reply_string(reply, NULL);
    end(step, rs_reply_type(reply) == RS_REPLY_INTEGER ? number : text != NULL ? text : "nil");
}

static void set_foo(rs_client *client, const char *value) {
    const char *argv[] = {"SET", "foo", value};
    char what[32];
    snprintf(what, sizeof what, "SET foo %s", value);
    rs_reply *reply = NULL;
    rs_error *err = NULL;
    step step = begin(client, what);
    check(rs_client_command(client, 3, argv, NULL, NULL, &reply, &err), &err);
    end_with_reply(step, reply);
    rs_reply_free(reply);
}

static void multiply_foo(rs_client *client, const rs_script *multiply, int64_t product) {
    const char *keys[] = {"foo"}, *args[] = {"5"};
    rs_reply *reply = NULL;
    rs_error *err = NULL;
    step step = begin(client, "multiply foo by 5");
    check(rs_script_call(multiply, client, 1, keys, NULL, 1, args, NULL, NULL, &reply, &err), &err);
    end_with_reply(step, reply);
    expect(reply, product);
    rs_reply_free(reply);
}

// SET foo 5 and the multiplication by 5, as one pipeline or, with RS_PIPELINE_ATOMIC, one transaction.
static void set_and_multiply(rs_client *client, const rs_script *multiply, uint32_t flags, const char *what,
                             uint64_t trips, const char *note) {
    const char *set[] = {"SET", "foo", "5"}, *keys[] = {"foo"}, *args[] = {"5"};
    char value[32];
    rs_pipeline *pipeline = NULL;
    rs_reply *replies = NULL;
    rs_error *err = NULL;
    check(rs_pipeline_new(client, flags, &pipeline, &err), &err);
    check(rs_pipeline_command(pipeline, 3, set, NULL, NULL, &err), &err);
    check(rs_pipeline_script(pipeline, multiply, 1, keys, NULL, 1, args, NULL, NULL, &err), &err);
    step step = begin(client, what);
    check(rs_pipeline_exec(pipeline, NULL, &replies, &err), &err);
    const rs_reply *first = rs_reply_element(replies, 0), *second = rs_reply_element(replies, 1);
    check(rs_reply_error(first, &err), &err);
    check(rs_reply_error(second, &err), &err);
    snprintf(value, sizeof value, "[%s, %" PRId64 "]", rs_reply_string(first, NULL), rs_reply_integer(second));
    expect(second, 25);
    end_with_note(step, value, note);
    if (grown(step, RS_STAT_ROUND_TRIPS) != trips) {
        fprintf(stderr, "demo: that should have taken %" PRIu64 "\n", trips);
        exit(1);
    }
    rs_reply_free(replies);
    rs_pipeline_free(pipeline);
}

static void flush_scripts(rs_client *client, const char *what) {
    rs_error *err = NULL;
    step step = begin(client, what);
    check(rs_client_script_flush(client, RS_FLUSH_SYNC, &err), &err);
    end(step, "OK");
}

static void visit_by_function(rs_client *client, const rs_script *visit, int64_t number, const char *note) {
    const char *keys[] = {"visits"};
    char value[24];
    rs_reply *reply = NULL;
    rs_error *err = NULL;
    step step = begin(client, "call its function visit");
    check(rs_script_call(visit, client, 1, keys, NULL, 0, NULL, NULL, NULL, &reply, &err), &err);
    snprintf(value, sizeof value, "%" PRId64, rs_reply_integer(reply));
    end_with_note(step, value, note);
    expect(reply, number);
    rs_reply_free(reply);
}

// A library is registered, and never deployed.
static void call_a_function(rs_client *client, rs_client *other) {
    const char *source = "#!lua name=demo\n"
                         "redis.register_function('visit', function(keys) return redis.call('INCR', keys[1]) end)";
    const char *flush[] = {"FUNCTION", "FLUSH"};
    rs_library *library = NULL;
    rs_script *visit = NULL;
    rs_error *err = NULL;
    check(rs_library_register(NULL, source, strlen(source), NULL, &library, &err), &err);
    check(rs_library_function(library, "visit", strlen("visit"), NULL, &visit, &err), &err);
    printf("  its name on servers: %s\n", rs_script_function_name(visit));
    visit_by_function(client, visit, 1, "FUNCTION LOAD and FCALL in one write");
    visit_by_function(client, visit, 2, "");
    step step = begin(other, "FUNCTION FLUSH, by somebody else");
    check(rs_client_command(other, 2, flush, NULL, NULL, NULL, &err), &err);
    end_with_note(step, "OK", "");
    visit_by_function(client, visit, 3, "FCALL misses it; both in one write");
    rs_script_free(visit);
    rs_library_free(library);
}

static void show_error(rs_error *err) {
    printf("%s\n    %s\n    %s\n", rs_status_name(rs_error_status(err)), rs_error_message(err),
           rs_error_is_indeterminate(err)  ? "indeterminate: nobody on this side can know whether it was executed"
           : rs_error_is_not_executed(err) ? "not executed"
                                           : "executed up to that point");
    rs_error_free(err);
}

static void fail_in_the_script(rs_client *client, const rs_script *multiply) {
    const char *keys[] = {"no such key"}, *args[] = {"5"};
    rs_error *err = NULL;
    printf("  %-32s ", "multiply a key that is not there");
    rs_script_call(multiply, client, 1, keys, NULL, 1, args, NULL, NULL, NULL, &err);
    show_error(err);
}

static void miss_a_deadline(rs_client *client) {
    const char *keys[] = {"count"}, *count[] = {"GET", "count"};
    rs_script *slow = make_script("redis.call('SET', KEYS[1], 1) for i = 1, 5e7 do end return 'done'");
    rs_client *hurried = NULL;
    rs_reply *reply = NULL;
    rs_error *err = NULL;
    check(rs_client_with(client, RS_CALL_OPTIONS(.timeout_ms = 50), &hurried, &err), &err);
    printf("  %-32s ", "a slow script, a 50 ms deadline");
    fflush(stdout);
    rs_script_call(slow, hurried, 1, keys, NULL, 0, NULL, NULL, NULL, NULL, &err);
    show_error(err);

    printf("  Was it executed? Ask for what it writes; its late reply is given to no other call:\n");
    step step = begin(client, "GET count, on the same client");
    check(rs_client_command(client, 2, count, NULL, NULL, &reply, &err), &err);
    end_with_reply(step, reply);
    rs_reply_free(reply);
    rs_client_free(hurried);
    rs_script_free(slow);
}

// The reply comes after the deadline, and is lost to its caller: who asks again with the token gets it, and nothing
// runs twice.
static void survive_a_lost_reply(rs_client *client, rs_client *other) {
    const char *lua = "for i = 1, 5e7 do end return redis.call('INCR', KEYS[1])";
    const char *keys[] = {"orders"};
    char token[64]; // an order's number, and another one at each run
    snprintf(token, sizeof token, "order %lld-%ld", (long long)time(NULL), (long)getpid());
    rs_script *order = NULL;
    rs_reply *reply = NULL;
    rs_error *err = NULL;
    check(rs_script_register(NULL, lua, strlen(lua), RS_SCRIPT_OPTIONS(.flags = RS_SCRIPT_ONCE), &order, &err), &err);
    printf("  %-32s ", "a slow one, a 50 ms deadline");
    fflush(stdout);
    rs_script_call(order, client, 1, keys, NULL, 0, NULL, NULL,
                   RS_CALL_OPTIONS(.timeout_ms = 50, .token = token, .token_len = strlen(token)), NULL, &err);
    show_error(err);
    step step = begin(other, "again with its token, elsewhere");
    check(rs_script_call(order, other, 1, keys, NULL, 0, NULL, NULL,
                         RS_CALL_OPTIONS(.token = token, .token_len = strlen(token)), &reply, &err),
          &err);
    end_with_reply(step, reply);
    expect(reply, 1);
    rs_reply_free(reply);
    const char *orders[] = {"GET", "orders"};
    step = begin(client, "GET orders");
    check(rs_client_command(client, 2, orders, NULL, NULL, &reply, &err), &err);
    end_with_note(step, rs_reply_string(reply, NULL), "it ran once");
    if (strcmp(rs_reply_string(reply, NULL), "1") != 0) exit(1);
    rs_reply_free(reply);
    rs_script_free(order);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: demo URL URL\n");
        return 2;
    }
    if (isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL) {
        bold = "\033[1m", plain = "\033[0m";
    }
    rs_client *first = open_client(argv[1]), *second = open_client(argv[2]), *other = open_client(argv[1]);
    rs_script *multiply = make_script("return redis.call('GET', KEYS[1]) * ARGV[1]");
    rs_script *never_loaded = make_script("return ARGV[1] * redis.call('GET', KEYS[1])");
    rs_script *brand_new = make_script("local n = redis.call('GET', KEYS[1]) return n * ARGV[1]");
    const char *inside = "SCRIPT LOAD inside MULTI, all in one write";
    const char *forget[] = {"DEL", "visits", "orders"};
    rs_error *err = NULL;
    check(rs_client_command(first, 3, forget, NULL, NULL, NULL, &err), &err);
    printf("multiply is: return redis.call('GET', KEYS[1]) * ARGV[1]\n  its SHA1, known before any call: %s\n",
           rs_script_sha(multiply));

    title("One server");
    set_foo(first, "2");
    multiply_foo(first, multiply, 10);
    multiply_foo(first, multiply, 10);

    title("A second server, the same script");
    set_foo(second, "3");
    multiply_foo(second, multiply, 15);

    title("The first server loses its script cache");
    flush_scripts(other, "SCRIPT FLUSH, by somebody else");
    multiply_foo(first, multiply, 10);
    multiply_foo(first, multiply, 10);

    title("A pipeline: SET foo 5, and a script that was never loaded, sent together");
    set_and_multiply(first, never_loaded, 0, "SET foo 5, multiply foo by 5", 1,
                     "SCRIPT LOAD, SET and EVALSHA in one write");
    set_and_multiply(first, never_loaded, 0, "the same again", 1, "");

    title("A transaction: the same between MULTI and EXEC, and the scripts are lost again");
    flush_scripts(other, "SCRIPT FLUSH, by somebody else");
    set_and_multiply(first, never_loaded, RS_PIPELINE_ATOMIC, "SET foo 5, multiply foo by 5", 1, inside);
    set_and_multiply(first, never_loaded, RS_PIPELINE_ATOMIC, "the same again", 1, inside);
    set_and_multiply(first, brand_new, RS_PIPELINE_ATOMIC, "with a script's very first use", 2,
                     "it has to compile before it may enter a MULTI");
    set_and_multiply(first, brand_new, RS_PIPELINE_ATOMIC, "the same again", 1, inside);

    title("A function of a library that nobody deploys");
    call_a_function(first, other);

    title("Errors say what happened");
    fail_in_the_script(first, multiply);
    miss_a_deadline(first);
    multiply_foo(first, multiply, 25);

    title("A call that happens once survives the loss of its reply");
    survive_a_lost_reply(first, other);

    rs_script_free(brand_new);
    rs_script_free(never_loaded);
    rs_script_free(multiply);
    rs_client_free(other);
    rs_client_free(second);
    rs_client_free(first);
}
