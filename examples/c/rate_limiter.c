// A rate limiter with a thousand requests in flight at once: of ten users, each of whom may make twenty in a minute.
// Prints what became of them.
//
//     rate_limiter URL [MILLISECONDS]    how long a request waits for its answer, 100 if not said
#include <rs_script.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 1000, USERS = 10, AT_A_TIME = 64 };

/* Counts a request in the user's minute. Returns 0 where it may go on, else for how many milliseconds it may not. */
static const char lua[] = "local used = redis.call('INCR', KEYS[1])\n"
                          "if used == 1 then redis.call('PEXPIRE', KEYS[1], 60000) end\n"
                          "if used <= tonumber(ARGV[1]) then return 0 end\n"
                          "return math.max(redis.call('PTTL', KEYS[1]), 1)";

struct outcome {
    int allowed, refused, unanswered;
};

/* One request: the answer comes to the queue, under its number. */
static rs_status ask(rs_client *client, const rs_script *limiter, uint64_t number, uint64_t timeout_ms, rs_queue *queue,
                     rs_error **err) {
    char key[32];
    const char *keys[] = {key}, *limit[] = {"20"};
    snprintf(key, sizeof key, "requests:user%d", (int)(number % USERS));
    return rs_script_submit(limiter, client, 1, keys, NULL, 1, limit, NULL, RS_CALL_OPTIONS(.timeout_ms = timeout_ms),
                            queue, number, err);
}

static void judge(const rs_completion *answer, struct outcome *outcome) {
    if (answer->status != RS_OK) {
        /* Nobody knows. A limiter that is in trouble lets requests through rather than being the outage. */
        fprintf(stderr, "request %d: %s\n", (int)answer->tag, rs_error_message(answer->error));
        outcome->unanswered++;
    } else if (rs_reply_integer(answer->reply) == 0) {
        outcome->allowed++;
    } else {
        outcome->refused++; /* the reply says after how many milliseconds to try again */
    }
}

static rs_status run(rs_client *client, const rs_script *limiter, uint64_t timeout_ms, rs_queue *queue,
                     rs_error **err) {
    struct outcome outcome = {0, 0, 0};
    rs_status status = RS_OK;
    for (uint64_t number = 0; status == RS_OK && number < REQUESTS; number++)
        status = ask(client, limiter, number, timeout_ms, queue, err);
    for (int left = REQUESTS; status == RS_OK && left > 0;) {
        rs_completion answers[AT_A_TIME];
        size_t count = 0;
        status = rs_queue_poll(queue, answers, AT_A_TIME, RS_FOREVER, &count, err);
        for (size_t i = 0; i < count; i++) {
            judge(&answers[i], &outcome);
            rs_reply_free(answers[i].reply);
            rs_error_free(answers[i].error);
        }
        left -= (int)count;
    }
    if (status == RS_OK)
        printf("%d allowed, %d refused, %d without an answer\n", outcome.allowed, outcome.refused, outcome.unanswered);
    return status;
}

int main(int argc, char **argv) {
    const char *url = argc > 1 ? argv[1] : "redis://127.0.0.1:6379";
    const uint64_t timeout_ms = argc > 2 ? strtoull(argv[2], NULL, 10) : 100;
    rs_client *client = NULL;
    rs_script *limiter = NULL;
    rs_queue *queue = NULL;
    rs_error *err = NULL;
    rs_status status = rs_client_open(url, NULL, &client, &err);
    if (status == RS_OK)
        status = rs_script_register(client, lua, strlen(lua), RS_SCRIPT_OPTIONS(.name = "rate limiter", .name_len = 12),
                                    &limiter, &err);
    /* One more would be RS_ERR_QUEUE_FULL at once: nobody's memory grows while a server is slow. */
    if (status == RS_OK) status = rs_queue_new(REQUESTS, 0, &queue, &err);
    if (status == RS_OK) status = run(client, limiter, timeout_ms, queue, &err);
    if (status != RS_OK) fprintf(stderr, "%s: %s\n", rs_status_name(status), rs_error_message(err));
    rs_error_free(err);
    rs_client_free(client); /* completes what is under way */
    rs_queue_free(queue);
    rs_script_free(limiter);
    return status == RS_OK ? 0 : 1;
}
