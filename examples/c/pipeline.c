// Sets foo to 5 and multiplies it by 5, as a pipeline and as a transaction. Prints OK 25, twice.
#include <rs_script.h>
#include <stdio.h>
#include <string.h>

static rs_status set_and_multiply(rs_client *client, const rs_script *multiply, uint32_t flags, rs_error **err) {
    const char *set[] = {"SET", "foo", "5"}, *keys[] = {"foo"}, *args[] = {"5"};
    rs_pipeline *pipeline = NULL;
    rs_reply *replies = NULL;
    rs_status status = rs_pipeline_new(client, flags, &pipeline, err);
    if (status == RS_OK) status = rs_pipeline_command(pipeline, 3, set, NULL, NULL, err);
    if (status == RS_OK) status = rs_pipeline_script(pipeline, multiply, 1, keys, NULL, 1, args, NULL, NULL, err);
    if (status == RS_OK) status = rs_pipeline_exec(pipeline, NULL, &replies, err);
    /* An item's error is its element. */
    for (size_t i = 0; status == RS_OK && i < rs_reply_len(replies); i++)
        status = rs_reply_error(rs_reply_element(replies, i), err);
    if (status == RS_OK)
        printf("%s %lld\n", rs_reply_string(rs_reply_element(replies, 0), NULL),
               (long long)rs_reply_integer(rs_reply_element(replies, 1)));
    rs_reply_free(replies);
    rs_pipeline_free(pipeline);
    return status;
}

int main(int argc, char **argv) {
    const char *url = argc > 1 ? argv[1] : "redis://127.0.0.1:6379";
    const char *lua = "return redis.call('GET', KEYS[1]) * ARGV[1]";
    rs_client *client = NULL;
    rs_script *multiply = NULL;
    rs_error *err = NULL;
    rs_status status = rs_client_open(url, NULL, &client, &err);
    if (status == RS_OK) status = rs_script_register(client, lua, strlen(lua), NULL, &multiply, &err);
    if (status == RS_OK) status = set_and_multiply(client, multiply, 0, &err);
    if (status == RS_OK) status = set_and_multiply(client, multiply, RS_PIPELINE_ATOMIC, &err);
    if (status != RS_OK) fprintf(stderr, "%s: %s\n", rs_status_name(status), rs_error_message(err));
    rs_error_free(err);
    rs_script_free(multiply);
    rs_client_free(client);
    return status == RS_OK ? 0 : 1;
}
