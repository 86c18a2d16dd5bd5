/* Replies: every type, every accessor on the wrong type, elements. */
#include "support/check.h"
#include "support/server.h"

static server *redis;

static rs_reply *eval(int32_t protocol, const char *lua) {
    rs_options *options = rs_options_new();
    rs_client *client = NULL;
    rs_script *script = NULL;
    rs_reply *reply = NULL;
    CHECK_OK(rs_options_set_protocol(options, protocol, &err));
    CHECK_OK(rs_client_open(server_url(redis), options, &client, &err));
    CHECK_OK(rs_script_register(client, lua, strlen(lua), NULL, &script, &err));
    CHECK_OK(rs_script_call(script, NULL, 0, NULL, NULL, 0, NULL, NULL, NULL, &reply, &err));
    rs_script_free(script);
    rs_client_free(client); /* the reply outlives them */
    rs_options_free(options);
    return reply;
}

/* What an accessor gives that does not fit the type. */
static void is_no_string(const rs_reply *reply) {
    size_t len = 7;
    CHECK_NULL(rs_reply_string(reply, &len));
    CHECK_INT(len, 0);
}
static void is_no_number(const rs_reply *reply) {
    CHECK_INT(rs_reply_integer(reply), 0);
    CHECK(rs_reply_double(reply) == 0.0);
}
static void has_no_elements(const rs_reply *reply) {
    CHECK_NULL(rs_reply_element(reply, 0));
    CHECK_NULL(rs_reply_element(reply, SIZE_MAX));
}

static void resp2(void) {
    rs_reply *reply = eval(RS_PROTOCOL_RESP2,
                           "return {1, 'two', {ok = 'THREE'}, {err = 'FOUR really'}, false, {6, {7}}, 8.9, true}");
    CHECK_INT(rs_reply_type(reply), RS_REPLY_ARRAY);
    CHECK_INT(rs_reply_len(reply), 8);
    is_no_string(reply);
    is_no_number(reply);
    CHECK_NULL(rs_reply_verbatim_format(reply));
    CHECK_NULL(rs_reply_element(reply, 8));
    CHECK_NULL(rs_reply_element(reply, SIZE_MAX));

    const rs_reply *element = rs_reply_element(reply, 0);
    CHECK_INT(rs_reply_type(element), RS_REPLY_INTEGER);
    CHECK_INT(rs_reply_integer(element), 1);
    CHECK(rs_reply_double(element) == 1.0);
    CHECK_INT(rs_reply_len(element), 0);
    is_no_string(element);
    has_no_elements(element);

    element = rs_reply_element(reply, 1);
    CHECK_INT(rs_reply_type(element), RS_REPLY_STRING);
    CHECK_STRING(element, "two");
    CHECK_INT(rs_reply_len(element), 3);
    is_no_number(element);
    has_no_elements(element);
    CHECK_NULL(rs_reply_verbatim_format(element));

    CHECK_INT(rs_reply_type(rs_reply_element(reply, 2)), RS_REPLY_STATUS);
    CHECK_STRING(rs_reply_element(reply, 2), "THREE");

    CHECK_INT(rs_reply_type(rs_reply_element(reply, 3)), RS_REPLY_ERROR);
    CHECK_STRING(rs_reply_element(reply, 3), "FOUR really");

    element = rs_reply_element(reply, 4);
    CHECK_INT(rs_reply_type(element), RS_REPLY_NIL);
    is_no_string(element);
    is_no_number(element);
    has_no_elements(element);

    element = rs_reply_element(rs_reply_element(reply, 5), 1);
    CHECK_INT(rs_reply_integer(rs_reply_element(element, 0)), 7);

    CHECK_INT(rs_reply_integer(rs_reply_element(reply, 6)), 8);
    CHECK_INT(rs_reply_integer(rs_reply_element(reply, 7)), 1);
    rs_reply_free(reply);
}

static void resp3(void) {
    rs_reply *reply = eval(RS_PROTOCOL_RESP3,
                           "redis.setresp(3)\n"
                           "return {{double = 1.5}, {map = {key = 'value'}}, {set = {a = true}}, true, false,\n"
                           "  {big_number = '123456789012345678901234567890'},\n"
                           "  {verbatim_string = {string = 'text', format = 'txt'}}}");
    const rs_reply *element = rs_reply_element(reply, 0);
    CHECK_INT(rs_reply_type(element), RS_REPLY_DOUBLE);
    CHECK(rs_reply_double(element) == 1.5);
    CHECK_STRING(element, "1.5");
    CHECK_INT(rs_reply_integer(element), 0);

    element = rs_reply_element(reply, 1);
    CHECK_INT(rs_reply_type(element), RS_REPLY_MAP);
    CHECK_INT(rs_reply_len(element), 2);
    CHECK_STRING(rs_reply_element(element, 0), "key");
    CHECK_STRING(rs_reply_element(element, 1), "value");

    element = rs_reply_element(reply, 2);
    CHECK_INT(rs_reply_type(element), RS_REPLY_SET);
    CHECK_STRING(rs_reply_element(element, 0), "a");

    element = rs_reply_element(reply, 3);
    CHECK_INT(rs_reply_type(element), RS_REPLY_BOOLEAN);
    CHECK_INT(rs_reply_integer(element), 1);
    CHECK_INT(rs_reply_type(rs_reply_element(reply, 4)), RS_REPLY_BOOLEAN);
    CHECK_INT(rs_reply_integer(rs_reply_element(reply, 4)), 0);

    element = rs_reply_element(reply, 5);
    CHECK_INT(rs_reply_type(element), RS_REPLY_BIG_NUMBER);
    CHECK_STRING(element, "123456789012345678901234567890");

    element = rs_reply_element(reply, 6);
    CHECK_INT(rs_reply_type(element), RS_REPLY_VERBATIM);
    CHECK_STRING(element, "text");
    CHECK_TEXT(rs_reply_verbatim_format(element), "txt");
    rs_reply_free(reply);
}

static void many_strings_are_read_at_once(void) {
    rs_reply *reply = eval(RS_PROTOCOL_AUTO, "return {'one', {'a', {'b'}}, '', 'a\\0b', false, 7}");
    const char *strings[8];
    size_t lengths[8];
    memset(lengths, 0xff, sizeof lengths);
    CHECK_INT(rs_reply_len(reply), 6);
    CHECK_INT(rs_reply_strings(reply, 0, 8, strings, lengths), 6);
    for (size_t i = 0; i < 6; i++) {
        size_t length;
        CHECK(strings[i] == rs_reply_string(rs_reply_element(reply, i), &length));
        CHECK_INT(lengths[i], length);
    }
    CHECK_INT(lengths[0], 3);
    CHECK(lengths[3] == 3 && memcmp(strings[3], "a\0b", 4) == 0);
    CHECK(strings[2] && !strings[1] && !strings[4] && !strings[5]);
    CHECK(lengths[6] == SIZE_MAX);
    // Behind an element that has elements itself, and no more than there is room for.
    strings[2] = NULL;
    CHECK_INT(rs_reply_strings(reply, 2, 2, strings, lengths), 2);
    CHECK_INT(lengths[1], 3);
    CHECK_NULL(strings[2]);
    CHECK_INT(rs_reply_strings(reply, 5, 8, strings, lengths), 1);
    CHECK_INT(rs_reply_strings(reply, 6, 8, strings, lengths), 0);
    CHECK_INT(rs_reply_strings(reply, SIZE_MAX, SIZE_MAX, strings, lengths), 0);
    CHECK_INT(rs_reply_strings(rs_reply_element(reply, 0), 0, 8, strings, lengths), 0);
    CHECK_INT(rs_reply_strings(rs_reply_element(reply, 1), 0, SIZE_MAX, strings, lengths), 2);
    CHECK_INT(lengths[0], 1);
    rs_reply_free(reply);
}

static void freeing_an_element_does_nothing(void) {
    rs_reply *reply = eval(RS_PROTOCOL_AUTO, "return {'one', {'two'}}");
    const rs_reply *inner = rs_reply_element(reply, 1);
    rs_reply_free((rs_reply *)rs_reply_element(reply, 0));
    rs_reply_free((rs_reply *)inner);
    rs_reply_free((rs_reply *)rs_reply_element(inner, 0));
    CHECK_STRING(rs_reply_element(reply, 0), "one");
    CHECK_STRING(rs_reply_element(inner, 0), "two");
    rs_reply_free(reply);
}

static void a_big_reply(void) {
    enum { COUNT = 100000 };
    rs_reply *reply = eval(RS_PROTOCOL_AUTO, "local t = {} for i = 1, 100000 do t[i] = i end return t");
    CHECK_INT(rs_reply_len(reply), COUNT);
    for (int i = 0; i < COUNT; i++) CHECK_INT(rs_reply_integer(rs_reply_element(reply, i)), i + 1);
    rs_reply_free(reply);
}

int main(void) {
    redis = server_start();
    RUN(resp2);
    RUN(resp3);
    RUN(many_strings_are_read_at_once);
    RUN(freeing_an_element_does_nothing);
    RUN(a_big_reply);
}
