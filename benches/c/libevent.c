// The asynchronous API of hiredis on libevent: `libevent PORT CALLS-AT-ONCE CALLS` keeps so many calls of the multiply
// script under way. Prints calls per second and microseconds of this process's CPU time per call.

#include <event2/event.h>
#include <hiredis/async.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client.h"

static struct event_base *base;

// What ties hiredis to libevent, as hiredis's own adapter does it, which its source distribution for Python lacks: one
// event for both directions, replaced when what is waited for changes.
static struct event *waiting;
static short wanted;

static void on_socket(evutil_socket_t socket, short events, void *context) {
    (void)socket;
    if (events & EV_READ)
        redisAsyncHandleRead(context);
    if (waiting != NULL && events & EV_WRITE)
        redisAsyncHandleWrite(context);
}

static void want(redisAsyncContext *context, short events) {
    if (events == wanted)
        return;
    wanted = events;
    event_del(waiting);
    event_assign(waiting, base, context->c.fd, (short)(events | EV_PERSIST), on_socket, context);
    event_add(waiting, NULL);
}

static void add_read(void *context) {
    want(context, wanted | EV_READ);
}

static void del_read(void *context) {
    want(context, wanted & ~EV_READ);
}

static void add_write(void *context) {
    want(context, wanted | EV_WRITE);
}

static void del_write(void *context) {
    want(context, wanted & ~EV_WRITE);
}

static void cleanup(void *context) {
    (void)context;
    event_free(waiting);
    waiting = NULL;
}

static void attach(redisAsyncContext *context) {
    waiting = event_new(base, context->c.fd, EV_READ | EV_WRITE, on_socket, context);
    context->ev.data = context;
    context->ev.addRead = add_read;
    context->ev.delRead = del_read;
    context->ev.addWrite = add_write;
    context->ev.delWrite = del_write;
    context->ev.cleanup = cleanup;
}

static redisAsyncContext *connection;
static char sha[41];
static long to_send, under_way;

static redisReply *checked(void *reply) {
    redisReply *checked = reply;
    if (checked != NULL && checked->type != REDIS_REPLY_ERROR)
        return checked;
    fprintf(stderr, "hiredis: %s\n", checked != NULL ? checked->str : connection->errstr);
    exit(1);
}

static void multiplied(redisAsyncContext *context, void *reply, void *data);

static void multiply(void) {
    const char *argv[] = {"EVALSHA", sha, "1", "foo", "5"};
    const size_t lengths[] = {7, 40, 1, 3, 1};
    if (redisAsyncCommandArgv(connection, multiplied, NULL, 5, argv, lengths) != REDIS_OK)
        exit(1);
    to_send--;
    under_way++;
}

static void multiplied(redisAsyncContext *context, void *reply, void *data) {
    (void)context, (void)data;
    if (checked(reply)->integer != PRODUCT)
        abort();
    under_way--;
    if (to_send > 0)
        multiply();
    else if (under_way == 0)
        event_base_loopbreak(base);
}

static void run(long at_once, long calls) {
    to_send = calls;
    for (long i = 0; i < at_once && to_send > 0; i++)
        multiply();
    event_base_dispatch(base);
}

static void loaded(redisAsyncContext *context, void *reply, void *data) {
    (void)context, (void)data;
    snprintf(sha, sizeof sha, "%s", checked(reply)->str);
    event_base_loopbreak(base);
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: %s PORT CALLS-AT-ONCE CALLS\n", argv[0]);
        return 2;
    }
    long at_once = atol(argv[2]), calls = atol(argv[3]);
    base = event_base_new();
    connection = redisAsyncConnect("127.0.0.1", atoi(argv[1]));
    if (base == NULL || connection == NULL || connection->err != 0)
        exit(1);
    attach(connection);
    redisAsyncCommand(connection, NULL, NULL, "SET foo 2");
    redisAsyncCommand(connection, loaded, NULL, "SCRIPT LOAD %s", MULTIPLY);
    event_base_dispatch(base);
    run(at_once, at_once * 2);
    double start = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    run(at_once, calls);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("%.1f %.3f\n", (double)calls / (seconds(CLOCK_MONOTONIC) - start), cpu * 1e6 / (double)calls);
    redisAsyncFree(connection);
    event_base_free(base);
}
