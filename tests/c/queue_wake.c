/* Who waits for completions is told to stop; and what a pipeline leaves half answered comes out whole, packed as
   well. */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "support/check.h"
#include "support/server.h"

static server *redis;
static rs_client *client;

static rs_queue *queue_of(size_t capacity) {
    rs_queue *queue = NULL;
    CHECK_OK(rs_queue_new(capacity, 0, &queue, &err));
    return queue;
}

static bool is_readable(rs_queue *queue) {
    struct pollfd fd = {.fd = rs_queue_fd(queue), .events = POLLIN};
    return poll(&fd, 1, 0) == 1 && (fd.revents & POLLIN);
}

static rs_status submit(rs_client *to, rs_queue *queue, uint64_t tag, size_t count, const char *const *words) {
    return rs_client_submit(to, count, words, NULL, NULL, queue, tag, NULL);
}

/* Takes one completion out, if there is one; whether there was. */
static bool take_one(rs_queue *queue, rs_completion *completion) {
    size_t count = 7;
    CHECK_OK(rs_queue_poll(queue, completion, 1, 0, &count, &err));
    CHECK(count <= 1);
    return count == 1;
}

/* ---- Waking and closing ---- */

enum { WORKERS = 6 };

typedef struct {
    rs_queue *queue;
    int how;
    atomic_int *back;
} worker;

static void ignore(void *context, const rs_completion *completion) {
    (void)context, (void)completion;
}

/* Waits for ever in one of the three ways, once or until the queue is closed. */
static void *wait_for_completions(void *argument) {
    const worker *w = argument;
    rs_completion completions[4];
    char buffer[64];
    size_t used, count, needed;
    do {
        count = 7;
        switch (w->how % 3) {
        case 0: CHECK_OK(rs_queue_poll(w->queue, completions, 4, RS_FOREVER, &count, &err)); break;
        case 1: CHECK_OK(rs_queue_dispatch(w->queue, 4, RS_FOREVER, ignore, NULL, &count, &err)); break;
        default:
            CHECK_OK(
                rs_queue_poll_packed(w->queue, buffer, sizeof buffer, 4, RS_FOREVER, &used, &count, &needed, &err));
            CHECK(used == 0 && needed == 0);
        }
        CHECK_INT(count, 0);
        atomic_fetch_add(w->back, 1);
    } while (w->how >= 3 && !rs_queue_is_closed(w->queue));
    return NULL;
}

static void every_way_of_waiting_is_ended(void) {
    rs_queue *queue = queue_of(8);
    pthread_t threads[WORKERS];
    worker workers[WORKERS];
    atomic_int back = 0;
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (worker){queue, i, &back};
        CHECK(pthread_create(&threads[i], NULL, wait_for_completions, &workers[i]) == 0);
    }
    /* Those that had not begun to wait are for the next. */
    WAIT_UNTIL((rs_queue_wake(queue), atomic_load(&back) >= WORKERS));
    CHECK(!rs_queue_is_closed(queue));
    rs_queue_close(queue);
    rs_queue_close(queue);
    for (int i = 0; i < WORKERS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(rs_queue_is_closed(queue));
    rs_queue_free(queue);
}

static void a_wake_up_is_for_the_next_poll_and_the_descriptor(void) {
    rs_queue *queue = queue_of(8);
    rs_completion completion;
    size_t count = 7;
    const char *ping[] = {"PING"};
    CHECK(!is_readable(queue));
    rs_queue_wake(queue);
    rs_queue_wake(queue);
    CHECK(is_readable(queue));
    CHECK_OK(rs_queue_poll(queue, &completion, 1, RS_FOREVER, &count, &err));
    CHECK_INT(count, 0);
    CHECK(!is_readable(queue));
    CHECK_OK(rs_queue_poll(queue, &completion, 1, 1, &count, &err));
    CHECK_INT(count, 0);
    rs_queue_wake(queue);
    CHECK_INT(submit(client, queue, 1, 1, ping), RS_OK);
    WAIT_UNTIL(stat_of(client, RS_STAT_IN_FLIGHT) == 0);
    WAIT_UNTIL(take_one(queue, &completion));
    CHECK_STRING(completion.reply, "PONG");
    CHECK(!is_readable(queue));
    rs_reply_free(completion.reply);
    rs_queue_free(queue);
}

static void a_closed_queue(void) {
    rs_queue *queue = queue_of(8);
    rs_completion completion;
    size_t count = 7;
    const char *ping[] = {"PING"};
    CHECK_INT(submit(client, queue, 1, 1, ping), RS_OK);
    rs_queue_close(queue);
    CHECK(is_readable(queue));
    CHECK_FAILS(RS_ERR_CLOSED, "queue is closed", rs_client_submit(client, 1, ping, NULL, NULL, queue, 2, &err));
    CHECK_FAILS(RS_ERR_CLOSED, "queue is closed", rs_client_submit_packed(client, 0, NULL, NULL, 0, queue, &err));
    WAIT_UNTIL(take_one(queue, &completion));
    CHECK_STRING(completion.reply, "PONG");
    rs_reply_free(completion.reply);
    CHECK_OK(rs_queue_poll(queue, &completion, 1, RS_FOREVER, &count, &err));
    CHECK_INT(count, 0);
    CHECK_INT(rs_queue_len(queue), 0);
    CHECK(is_readable(queue));
    rs_queue_free(queue);
}

/* ---- Half a pipeline ---- */

static void *ping_behind(void *argument) {
    (void)argument;
    const char *ping[] = {"PING"};
    rs_reply *reply = NULL;
    CHECK_OK(rs_client_command(client, 1, ping, NULL, NULL, &reply, &err));
    rs_reply_free(reply);
    return NULL;
}

/* A pipeline [GET key, SET other 1], called off when the first is answered and the second waits, while another thread
   reads. */
static void call_off_half(rs_queue *queue, const char *key) {
    rs_client *control = open_client(server_url(redis));
    rs_pipeline *pipeline = NULL;
    const char *get[] = {"GET", key}, *set[] = {"SET", "other", "1"};
    const uint64_t received = stat_of(client, RS_STAT_BYTES_RECEIVED);
    pthread_t reader;
    size_t count = 0;
    do_command(control, "CLIENT", "PAUSE", "60000", "WRITE", NULL);
    CHECK_OK(rs_pipeline_new(client, 0, &pipeline, &err));
    CHECK_OK(rs_pipeline_command(pipeline, 2, get, NULL, NULL, &err));
    CHECK_OK(rs_pipeline_command(pipeline, 3, set, NULL, NULL, &err));
    CHECK_OK(rs_pipeline_submit(pipeline, NULL, queue, 7, &err));
    WAIT_UNTIL(stat_of(client, RS_STAT_BYTES_RECEIVED) > received);
    CHECK(pthread_create(&reader, NULL, ping_behind, NULL) == 0);
    WAIT_UNTIL(stat_of(client, RS_STAT_IN_FLIGHT) >= 2);
    CHECK_OK(rs_client_cancel(client, queue, 7, &count, &err));
    CHECK_INT(count, 1);
    do_command(control, "CLIENT", "UNPAUSE", NULL);
    CHECK(pthread_join(reader, NULL) == 0);
    rs_pipeline_free(pipeline);
    rs_client_free(control);
}

/* Takes this many bytes from a packed buffer. */
static const char *get(const char **at, size_t len) {
    const char *bytes = *at;
    *at += len;
    return bytes;
}

static uint32_t get_u32(const char **at) {
    uint32_t value;
    memcpy(&value, get(at, sizeof value), sizeof value);
    return value;
}

static void half_a_pipeline_comes_out_whole(void) {
    rs_queue *queue = queue_of(8);
    char buffer[4096];
    size_t used = 0, count = 0, needed = 0;
    do_command(client, "SET", "text", "hello", NULL);
    do_command(client, "LPUSH", "list", "x", NULL);
    for (int round = 0; round < 3; round++) {
        rs_completion completion;
        rs_error *inner = NULL;
        call_off_half(queue, "text");
        CHECK_OK(rs_queue_poll(queue, &completion, 1, 60000, &count, &err));
        CHECK_INT(completion.status, RS_ERR_INDETERMINATE);
        CHECK_INT(rs_reply_len(completion.reply), 1);
        CHECK_STRING(rs_reply_element(completion.reply, 0), "hello");
        rs_reply_free(completion.reply);
        rs_error_free(completion.error);

        call_off_half(queue, "list");
        CHECK_OK(rs_queue_poll(queue, &completion, 1, 60000, &count, &err));
        CHECK_INT(rs_reply_error(rs_reply_element(completion.reply, 0), &inner), RS_ERR_SERVER);
        CHECK_TEXT(rs_error_server_code(inner), "WRONGTYPE");
        rs_error_free(inner);
        rs_reply_free(completion.reply);
        rs_error_free(completion.error);

        call_off_half(queue, "text");
        CHECK_OK(rs_queue_poll_packed(queue, buffer, sizeof buffer, 8, 60000, &used, &count, &needed, &err));
        CHECK_INT(count, 1);
        const char *at = buffer;
        CHECK_INT(get_u32(&at), used - 4);
        get(&at, 8);
        CHECK_INT(get_u32(&at), RS_ERR_INDETERMINATE);
        CHECK_INT(*get(&at, 1), RS_PACKED_INDETERMINATE | RS_PACKED_ARRIVED);
        for (int text = 0; text < 2; text++) get(&at, get_u32(&at));
        CHECK_INT(*get(&at, 1), RS_REPLY_ARRAY);
        CHECK_INT(get_u32(&at), 1);
        CHECK_INT(*get(&at, 1), RS_REPLY_STRING);
        CHECK_INT(get_u32(&at), 5);
        CHECK(memcmp(get(&at, 5), "hello", 5) == 0 && at == buffer + used);
        CHECK_INT(rs_queue_len(queue), 0);
    }
    rs_queue_free(queue);
}

int main(void) {
    redis = server_start();
    client = open_client(server_url(redis));
    RUN(every_way_of_waiting_is_ended);
    RUN(a_wake_up_is_for_the_next_poll_and_the_descriptor);
    RUN(a_closed_queue);
    RUN(half_a_pipeline_comes_out_whole);
    rs_client_free(client);
}
