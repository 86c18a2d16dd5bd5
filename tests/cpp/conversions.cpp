// Replies as values of C++, numbers among arguments, and results as std::expected.
#include <rs_script.hpp>

#include <list>
#include <map>
#include <set>
#include <unordered_map>

#if defined(__cpp_lib_ranges)
#include <ranges>
#endif

#include "support/check.h"
#include "support/server.h"
#include "thrown_by.hpp"

static server *one;

// Whether the words are in the error's text.
static void says(const rs::Error &error, std::string_view words) {
    if (std::string_view(error.what()).find(words) == std::string_view::npos)
        FAIL("'%.*s' is missing in: %s", int(words.size()), words.data(), error.what());
}

static void values() {
    rs::Client client(server_url(one));
    rs::Script script(client, "redis.setresp(3) return {7, 'text', '12', {double = 1.5}, true, false, {1, 2, 3}, {map = {a = '1'}}, "
                              "{set = {x = true}}, {1, 'b'}, {big_number = '99999999999999999999'}, {ok = 'FINE'}, {err = 'E x'}}");
    const rs::Reply reply = script.call({}, {});
    CHECK_INT(reply[0].as<int>(), 7);
    CHECK_INT(reply[0].as<unsigned char>(), 7);
    CHECK(reply[0].as<std::string>() == "7" && reply[1].as<std::string>() == "text");
    CHECK_INT(reply[2].as<long>(), 12);
    CHECK(reply[3].as<double>() == 1.5 && reply[0].as<float>() == 7.0F && reply[2].as<double>() == 12.0);
    CHECK(reply[4].as<bool>() && !reply[5].as<bool>());
    CHECK((reply[6].as<std::vector<int>>() == std::vector<int>{1, 2, 3}));
    CHECK((reply[6].as<std::list<std::string>>() == std::list<std::string>{"1", "2", "3"}));
    CHECK((reply[6].as<std::tuple<int, std::string, double>>() == std::tuple<int, std::string, double>{1, "2", 3.0}));
    CHECK((reply[7].as<std::map<std::string, int>>() == std::map<std::string, int>{{"a", 1}}));
    CHECK((reply[8].as<std::set<std::string>>() == std::set<std::string>{"x"}));
    CHECK((reply[9].as<std::pair<int, std::string>>() == std::pair<int, std::string>{1, "b"}));
    CHECK(reply[10].as<std::string>() == "99999999999999999999" && reply[11].as<std::string>() == "FINE");
    // What RESP2 has for a map.
    CHECK_INT((script.call({}, {})[9].as<std::map<int, std::string>>().at(1).size()), 1);
    // Nil.
    CHECK(!client.command({"GET", "none"}).as<std::optional<std::string>>());
    client.command({"SET", "some", "5"});
    CHECK_INT(client.command({"GET", "some"}).as<std::optional<int>>().value(), 5);
    CHECK((client.command({"MGET", "some", "none"}).as<std::vector<std::optional<int>>>() ==
           std::vector<std::optional<int>>{5, std::nullopt}));
}

static void what_does_not_fit() {
    rs::Client client(server_url(one));
    rs::Script script(client, "return {300, 'x', {1, {'y'}}, {err = 'WRONG server text'}, -1, ''}");
    const rs::Reply reply = script.call({}, {});
    says(reply[0].try_as<signed char>().error(), "the integer 300, not one that fits");
    says(reply[4].try_as<unsigned>().error(), "the integer -1");
    says(reply[1].try_as<int>().error(), "a text that is something else, not an integer");
    says(reply[5].try_as<int>().error(), "a text that is something else");
    says(reply.try_as<int>().error(), "the reply is an array, not an integer");
    says(reply[2].try_as<std::vector<std::vector<int>>>().error(), "element 0 of the reply is an integer, not an array");
    says(reply[2].try_as<std::tuple<int, std::vector<int>>>().error(), "element 0 of element 1 of the reply is a text");
    says(reply[2].try_as<std::tuple<int>>().error(), "an array of 2, not an array of 1");
    says(reply[3].try_as<int>().error(), "WRONG server text");
    CHECK_INT(reply[3].try_as<int>().error().status(), RS_ERR_SERVER);
    CHECK_INT(reply.try_as<int>().error().status(), RS_ERR_INVALID_ARGUMENT);
    says(client.command({"GET", "none"}).try_as<std::string>().error(), "nil, not a string");
    says(thrown_by([&] { client.command({"GET", "none"}).as<int>(); }), "nil, not an integer");
    says(rs::ReplyView().try_as<int>().error(), "no reply");
}

static void numbers_in() {
    rs::Client client(server_url(one));
    rs::Script echo(client, "return ARGV");
    const std::string name = "counter";
    client.command({"DEL", name});
    CHECK_INT(client.command({"INCRBY", name, 5}).integer(), 5);
    CHECK_INT(client.command({"INCRBY", name, std::int64_t(-7)}).integer(), -2);
    using Texts = std::vector<std::string>;
    CHECK((echo.call({}, {0, -1, 18446744073709551615U, 0.1, 1e300, 2.5F}).as<Texts>() ==
           Texts{"0", "-1", "18446744073709551615", "0.1", "1e+300", "2.5"}));
    const std::vector<int> few{1, 2, 3};
    CHECK((echo.call({}, few).as<Texts>() == Texts{"1", "2", "3"}));
    std::vector<std::int64_t> many;
    for (int i = 0; i < 1000; ++i) many.push_back(std::int64_t(i) * 1000000007);
    CHECK(echo.call({}, many).as<std::vector<std::int64_t>>() == many);
#if defined(__cpp_lib_ranges)
    // A view whose begin() is not const.
    const Texts words{"a", "", "b"};
    CHECK((echo.call({}, words | std::views::filter([](const std::string &word) { return !word.empty(); })).as<Texts>() ==
           Texts{"a", "b"}));
#endif
}

static void expected() {
#ifdef __cpp_lib_expected
    rs::Client client(server_url(one));
    const std::expected<rs::Reply, rs::Error> pong = client.try_command({"PING"}).expected();
    CHECK(pong.has_value() && pong->string() == "PONG");
    const std::expected<rs::Reply, rs::Error> refused = client.try_command({"SUBSCRIBE", "x"}).expected();
    CHECK(!refused && refused.error().status() == RS_ERR_COMMAND_REFUSED);
    CHECK(client.try_script_kill().expected().error().status() != RS_OK);
#endif
}

int main() {
    one = server_start();
    RUN(values);
    RUN(what_does_not_fit);
    RUN(numbers_in);
    RUN(expected);
}
