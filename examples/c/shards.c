// Scripts in a cluster: each call goes where its keys are, a pipeline goes to all servers at once, and what has no keys
// goes where it is told.
//
//     shards redis+cluster://host:port,host:port
#include <rs_script.h>
#include <stdio.h>
#include <string.h>

enum { PAGES = 90 };

static const char count_lua[] = "return redis.call('INCR', KEYS[1])";
static const char read_lua[] = "return redis.call('GET', KEYS[1])";

/* A pipeline is split by the servers that own the keys, one write each; the replies are in the order of the items. */
static rs_status visit_all(rs_client *client, const rs_script *count, rs_error **err) {
    rs_pipeline *pipeline = NULL;
    rs_reply *replies = NULL;
    long long sum = 0;
    rs_status status = rs_pipeline_new(client, 0, &pipeline, err);
    for (int page = 0; status == RS_OK && page < PAGES; page++) {
        char key[32];
        const char *keys[] = {key};
        snprintf(key, sizeof key, "page:%d", page);
        status = rs_pipeline_script(pipeline, count, 1, keys, NULL, 0, NULL, NULL, NULL, err);
    }
    if (status == RS_OK) status = rs_pipeline_exec(pipeline, NULL, &replies, err);
    for (size_t i = 0; status == RS_OK && i < rs_reply_len(replies); i++) {
        status = rs_reply_error(rs_reply_element(replies, i), err);
        sum += (long long)rs_reply_integer(rs_reply_element(replies, i));
    }
    if (status == RS_OK) printf("%d pages, %lld visits\n", PAGES, sum);
    rs_reply_free(replies);
    rs_pipeline_free(pipeline);
    return status;
}

/* A read-only call may run on a replica. That is behind its primary by what is still on the way, so it goes there only
   where that is asked for. */
static rs_status look(rs_client *client, const rs_script *read, rs_error **err) {
    const char *keys[] = {"page:7"};
    rs_reply *reply = NULL;
    rs_status status = rs_script_call(
        read, client, 1, keys, NULL, 0, NULL, NULL,
        RS_CALL_OPTIONS(.flags = RS_CALL_READ_ONLY, .read_from = RS_READ_FROM_PREFER_REPLICA), &reply, err);
    if (status == RS_OK) printf("page 7 has %s\n", rs_reply_type(reply) == RS_REPLY_STRING ? "visits" : "none yet");
    rs_reply_free(reply);
    return status;
}

/* What concerns every server is asked of every primary: a map from each one's address to its reply. */
static rs_status keys_of_all(rs_client *client, rs_error **err) {
    const char *dbsize[] = {"DBSIZE"};
    rs_reply *sizes = NULL;
    long long sum = 0;
    rs_status status = rs_client_command(client, 1, dbsize, NULL, RS_CALL_OPTIONS(.route = RS_ROUTE_ALL), &sizes, err);
    for (size_t i = 1; status == RS_OK && i < rs_reply_len(sizes); i += 2) {
        status = rs_reply_error(rs_reply_element(sizes, i), err);
        sum += (long long)rs_reply_integer(rs_reply_element(sizes, i));
    }
    if (status == RS_OK) printf("%lld keys on %d primaries\n", sum, (int)rs_reply_len(sizes) / 2);
    rs_reply_free(sizes);
    return status;
}

/* Keys of two slots are refused before anything is sent; a tag in braces would put them together. */
static rs_status two_slots(rs_client *client, const rs_script *count, rs_error **err) {
    const char *keys[] = {"page:1", "page:2"};
    rs_status status = rs_script_call(count, client, 2, keys, NULL, 0, NULL, NULL, NULL, NULL, err);
    if (status != RS_ERR_CROSS_SLOT) return status;
    printf("%s\n", rs_status_name(status));
    rs_error_free(*err);
    *err = NULL;
    return RS_OK;
}

int main(int argc, char **argv) {
    const char *url = argc > 1 ? argv[1] : "redis+cluster://127.0.0.1:6379";
    rs_client *client = NULL;
    rs_script *count = NULL, *read = NULL;
    rs_error *err = NULL;
    rs_status status = rs_client_open(url, NULL, &client, &err);
    if (status == RS_OK) status = rs_script_register(client, count_lua, strlen(count_lua), NULL, &count, &err);
    if (status == RS_OK) status = rs_script_register(client, read_lua, strlen(read_lua), NULL, &read, &err);
    if (status == RS_OK) status = visit_all(client, count, &err);
    if (status == RS_OK) status = look(client, read, &err);
    if (status == RS_OK) status = keys_of_all(client, &err);
    if (status == RS_OK) status = two_slots(client, count, &err);
    if (status != RS_OK) fprintf(stderr, "%s: %s\n", rs_status_name(status), rs_error_message(err));
    rs_error_free(err);
    rs_script_free(read);
    rs_script_free(count);
    rs_client_free(client);
    return status == RS_OK ? 0 : 1;
}
