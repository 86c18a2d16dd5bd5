/* One script on two servers: multiply redis://127.0.0.1:6379 redis://127.0.0.1:6380

   Sets `foo` to 2 on the first and to 3 on the second server, and has both multiply it by 5; then the first server
   forgets the script, and multiplies again nevertheless. Prints 10, 15 and 10. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rs_script.h>

/* Ends the program unless the call succeeded. */
static void check(rs_status status, rs_error *err) {
    if (status == RS_OK) return;
    fprintf(stderr, "%s: %s\n", rs_status_name(status), rs_error_message(err));
    rs_error_free(err);
    exit(1);
}

static rs_client *open_with_foo(const char *url, const char *value) {
    const char *set[] = {"SET", "foo", value};
    rs_client *client = NULL;
    rs_error *err = NULL;
    check(rs_client_open(url, NULL, &client, &err), err);
    check(rs_client_command(client, 3, set, NULL, NULL, NULL, &err), err);
    return client;
}

static void multiply_foo_by_five(const rs_script *multiply, rs_client *client) {
    const char *keys[] = {"foo"}, *args[] = {"5"};
    rs_reply *reply = NULL;
    rs_error *err = NULL;
    check(rs_script_call(multiply, client, 1, keys, NULL, 1, args, NULL, NULL, &reply, &err), err);
    printf("%" PRId64 "\n", rs_reply_integer(reply));
    rs_reply_free(reply);
}

int main(int argc, char **argv) {
    static const char lua[] = "return redis.call('GET', KEYS[1]) * ARGV[1]";
    rs_script *multiply = NULL;
    rs_error *err = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: %s URL URL\n", argv[0]);
        return 2;
    }
    rs_client *first = open_with_foo(argv[1], "2"), *second = open_with_foo(argv[2], "3");
    check(rs_script_register(first, lua, strlen(lua), NULL, &multiply, &err), err);

    multiply_foo_by_five(multiply, NULL); /* on the client that it was registered with */
    multiply_foo_by_five(multiply, second);

    check(rs_client_script_flush(first, RS_FLUSH_SYNC, &err), err);
    multiply_foo_by_five(multiply, NULL);

    rs_script_free(multiply);
    rs_client_free(first);
    rs_client_free(second);
}
