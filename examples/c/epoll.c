// Calls a script for a thousand keys from an event loop of its own, with no thread of the library's. Linux.
#include <errno.h>
#include <rs_script.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { CALLS = 1000, AT_A_TIME = 64 };

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

/* Takes out what is complete; rs_queue_poll reads, writes and minds the deadlines, and does not wait. */
static rs_status take_all(rs_queue *queue, size_t *left, long long *sum, rs_error **err) {
    rs_completion completions[AT_A_TIME];
    size_t taken = AT_A_TIME;
    rs_status status = RS_OK;
    while (status == RS_OK && taken == AT_A_TIME) {
        status = rs_queue_poll(queue, completions, AT_A_TIME, 0, &taken, err);
        for (size_t i = 0; i < taken; i++) {
            if (completions[i].status == RS_OK) *sum += (long long)rs_reply_integer(completions[i].reply);
            else fprintf(stderr, "call %d: %s\n", (int)completions[i].tag, rs_error_message(completions[i].error));
            rs_reply_free(completions[i].reply);
            rs_error_free(completions[i].error);
        }
        *left -= taken;
    }
    return status;
}

int main(int argc, char **argv) {
    const char *url = argc > 1 ? argv[1] : "redis://127.0.0.1:6379";
    const char *lua = "return redis.call('INCR', KEYS[1])";
    rs_client *client = NULL;
    rs_script *count = NULL;
    rs_queue *queue = NULL;
    rs_error *err = NULL;
    size_t left = CALLS;
    long long sum = 0;
    int loop = epoll_create1(EPOLL_CLOEXEC);
    rs_status status = rs_client_open(url, NULL, &client, &err);
    if (status == RS_OK) status = rs_script_register(client, lua, strlen(lua), NULL, &count, &err);
    if (status == RS_OK) status = rs_queue_new(CALLS, RS_QUEUE_NO_THREAD, &queue, &err);
    if (status == RS_OK) {
        struct epoll_event wanted = {.events = EPOLLIN};
        if (epoll_ctl(loop, EPOLL_CTL_ADD, rs_queue_fd(queue), &wanted) != 0) perror("epoll_ctl");
        status = submit_all(client, count, queue, &err);
    }
    while (status == RS_OK && left > 0) {
        struct epoll_event ready;
        /* The program's own descriptors would be in this loop as well. */
        if (epoll_wait(loop, &ready, 1, -1) < 0 && errno != EINTR) break;
        status = take_all(queue, &left, &sum, &err);
    }
    if (status == RS_OK) printf("%d calls, sum %lld\n", CALLS - (int)left, sum);
    else fprintf(stderr, "%s: %s\n", rs_status_name(status), rs_error_message(err));
    rs_error_free(err);
    rs_queue_free(queue);
    rs_script_free(count);
    rs_client_free(client);
    close(loop);
    return status == RS_OK && left == 0 ? 0 : 1;
}
