// The first pipeline with two scripts that the server has never seen: `cold PORT` prints the round trips that it took.

#include <rs_script.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(rs_status status, rs_error **err) {
    if (status == RS_OK)
        return;
    fprintf(stderr, "%s: %s\n", rs_status_name(status), rs_error_message(*err));
    exit(1);
}

static unsigned long long round_trips(rs_client *client) {
    uint64_t figures[RS_STAT_COUNT];
    rs_client_stats(client, figures, RS_STAT_COUNT);
    return figures[RS_STAT_ROUND_TRIPS];
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return 2;
    }
    char url[64];
    snprintf(url, sizeof url, "redis://127.0.0.1:%s", argv[1]);
    const char *sources[] = {"return 'rs_script 1'", "return 'rs_script 2'"};
    rs_client *client;
    rs_pipeline *pipeline;
    rs_script *scripts[2];
    rs_reply *replies;
    rs_error *err;
    check(rs_client_open(url, NULL, &client, &err), &err);
    check(rs_client_script_flush(client, RS_FLUSH_SYNC, &err), &err);
    check(rs_pipeline_new(client, 0, &pipeline, &err), &err);
    unsigned long long before = round_trips(client);
    for (int i = 0; i < 2; i++) {
        check(rs_script_register(client, sources[i], strlen(sources[i]), NULL, &scripts[i], &err), &err);
        check(rs_pipeline_script(pipeline, scripts[i], 0, NULL, NULL, 0, NULL, NULL, NULL, &err), &err);
    }
    check(rs_pipeline_exec(pipeline, NULL, &replies, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        size_t length;
        const char *string = rs_reply_string(rs_reply_element(replies, i), &length);
        if (length != strlen("rs_script N") || string[length - 1] != (char)('1' + i))
            abort();
    }
    printf("%llu\n", round_trips(client) - before);
    rs_reply_free(replies);
    rs_script_free(scripts[0]);
    rs_script_free(scripts[1]);
    rs_pipeline_free(pipeline);
    rs_client_free(client);
}
