// Calls a script for a thousand keys from libevent's loop, with no thread of the library's.
//
//     cc libevent.c $(pkg-config --cflags --libs rs_script libevent_core) -o libevent
//     ./libevent redis://127.0.0.1:6379    # 1000 calls, sum 1000
#include <event2/event.h>
#include <rs_script.h>
#include <stdio.h>
#include <string.h>

enum { CALLS = 1000, AT_A_TIME = 64 };

struct counter {
    struct event_base *loop;
    rs_queue *queue;
    size_t left;
    long long sum;
    rs_status status;
    rs_error *err;
};

static void completed(void *context, const rs_completion *completion) {
    struct counter *counter = context;
    if (completion->status == RS_OK) counter->sum += (long long)rs_reply_integer(completion->reply);
    else fprintf(stderr, "call %d: %s\n", (int)completion->tag, rs_error_message(completion->error));
    rs_reply_free(completion->reply);
    rs_error_free(completion->error);
    counter->left--;
}

/* There is something to do: bytes to read or to send, a deadline, completions. It never waits. */
static void readable(evutil_socket_t fd, short events, void *context) {
    struct counter *counter = context;
    size_t taken = AT_A_TIME;
    (void)fd, (void)events;
    while (counter->status == RS_OK && taken == AT_A_TIME)
        counter->status = rs_queue_dispatch(counter->queue, AT_A_TIME, 0, completed, counter, &taken, &counter->err);
    if (counter->status != RS_OK || counter->left == 0) event_base_loopbreak(counter->loop);
}

static rs_status submit_all(rs_client *client, const rs_script *count, rs_queue *queue, rs_error **err) {
    rs_status status = RS_OK;
    for (uint64_t tag = 0; status == RS_OK && tag < CALLS; tag++) {
        char key[32];
        const char *keys[] = {key};
        snprintf(key, sizeof key, "visits:%d", (int)tag);
        status = rs_script_submit(count, client, 1, keys, NULL, 0, NULL, NULL, NULL, queue, tag, err);
    }
    return status;
}

int main(int argc, char **argv) {
    const char *url = argc > 1 ? argv[1] : "redis://127.0.0.1:6379";
    const char *lua = "return redis.call('INCR', KEYS[1])";
    rs_client *client = NULL;
    rs_script *count = NULL;
    struct event *ready = NULL;
    struct counter counter = {.loop = event_base_new(), .left = CALLS};
    counter.status = rs_client_open(url, NULL, &client, &counter.err);
    if (counter.status == RS_OK)
        counter.status = rs_script_register(client, lua, strlen(lua), NULL, &count, &counter.err);
    if (counter.status == RS_OK) counter.status = rs_queue_new(CALLS, RS_QUEUE_NO_THREAD, &counter.queue, &counter.err);
    if (counter.status == RS_OK) counter.status = submit_all(client, count, counter.queue, &counter.err);
    if (counter.status == RS_OK) {
        /* The program's own events would be in this loop as well. */
        ready = event_new(counter.loop, rs_queue_fd(counter.queue), EV_READ | EV_PERSIST, readable, &counter);
        event_add(ready, NULL);
        event_base_dispatch(counter.loop);
    }
    if (counter.status == RS_OK) printf("%d calls, sum %lld\n", CALLS - (int)counter.left, counter.sum);
    else fprintf(stderr, "%s: %s\n", rs_status_name(counter.status), rs_error_message(counter.err));
    /* The event goes before the queue, whose descriptor it watches. */
    if (ready != NULL) event_free(ready);
    event_base_free(counter.loop);
    rs_error_free(counter.err);
    rs_queue_free(counter.queue);
    rs_script_free(count);
    rs_client_free(client);
    return counter.status == RS_OK && counter.left == 0 ? 0 : 1;
}
