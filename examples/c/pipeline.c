// Sets foo to 5 and multiplies it by 5, as a pipeline and as a transaction. Prints OK 25, twice.
#include <rs_script.h>
#include <stdio.h>
#include <string.h>

static int set_and_multiply(const rs_client *client, const rs_script *multiply, uint32_t flags) {
    const char *set[] = {"SET", "foo", "5"}, *keys[] = {"foo"}, *args[] = {"5"};
    rs_pipeline *pipeline = NULL;
    rs_reply *replies = NULL;
    rs_error *err = NULL;
    int good = rs_pipeline_new(client, flags, &pipeline, &err) == RS_OK &&
               rs_pipeline_command(pipeline, 3, set, NULL, &err) == RS_OK &&
               rs_pipeline_script(pipeline, multiply, 1, keys, NULL, 1, args, NULL, &err) == RS_OK &&
               rs_pipeline_exec(pipeline, &replies, &err) == RS_OK;
    for (size_t i = 0; good && i < rs_reply_len(replies); i++) /* an item's error is its element */
        good = rs_reply_error(rs_reply_element(replies, i), &err) == RS_OK;
    if (good)
        printf("%s %lld\n", rs_reply_string(rs_reply_element(replies, 0), NULL),
               (long long)rs_reply_integer(rs_reply_element(replies, 1)));
    else
        fprintf(stderr, "%s: %s\n", rs_status_name(rs_error_status(err)), rs_error_message(err));
    rs_error_free(err);
    rs_reply_free(replies);
    rs_pipeline_free(pipeline);
    return good;
}

int main(int argc, char **argv) {
    const char *lua = "return redis.call('GET', KEYS[1]) * ARGV[1]";
    rs_client *client = NULL;
    rs_script *multiply = NULL;
    int good = rs_client_open(argc > 1 ? argv[1] : "redis://127.0.0.1:6379", NULL, &client, NULL) == RS_OK &&
               rs_script_register(client, lua, strlen(lua), &multiply, NULL) == RS_OK &&
               set_and_multiply(client, multiply, 0) &&
               set_and_multiply(client, multiply, RS_PIPELINE_ATOMIC);
    rs_script_free(multiply);
    rs_client_free(client);
    return good ? 0 : 1;
}
