// Replies as values of C++, and results as values of their own.
#include <rs_script.hpp>

#include <deque>
#include <list>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

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
    rs::Script script(
        client, "redis.setresp(3) return {7, 'text', '12', {double = 1.5}, true, false, {1, 2, 3}, {map = {a = '1'}}, "
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
    CHECK(!rs::Script(client, "return 2 < 1").call({}, {}).as<bool>());
    CHECK(rs::Script(client, "return 1 < 2").call({}, {}).as<std::optional<bool>>() == true);
    CHECK(!rs::Script(client, "return false").call({}, {}).as<std::optional<bool>>());
    client.command({"SET", "some", "5"});
    CHECK_INT(client.command({"GET", "some"}).as<std::optional<int>>().value(), 5);
    CHECK((client.command({"MGET", "some", "none"}).as<std::vector<std::optional<int>>>() ==
           std::vector<std::optional<int>>{5, std::nullopt}));
}

// What RESP2 and RESP3 have for a map: a map, keys and values in turn, arrays of both.
static void maps() {
    rs::Client client(server_url(one));
    rs::Script script(client, "redis.setresp(3) return {{map = {a = 1}}, {'a', 1, 'b', 2}, {{'a', 1}, {'b', 2}}, {}, "
                              "{{1, 2}, 'x'}, {'a'}, 'text'}");
    const rs::Reply reply = script.call({}, {});
    using Map = std::map<std::string, int>;
    using Pairs = std::vector<std::pair<std::string, int>>;
    CHECK((reply[0].as<Map>() == Map{{"a", 1}}) && (reply[0].as<Pairs>() == Pairs{{"a", 1}}));
    for (std::size_t form : {1U, 2U}) {
        CHECK((reply[form].as<Map>() == Map{{"a", 1}, {"b", 2}}));
        CHECK((reply[form].as<Pairs>() == Pairs{{"a", 1}, {"b", 2}}));
        CHECK((reply[form].as<std::unordered_map<std::string, std::string>>() ==
               std::unordered_map<std::string, std::string>{{"a", "1"}, {"b", "2"}}));
        CHECK((reply[form].as<std::multimap<std::string, long>>().size()) == 2);
    }
    CHECK(reply[3].as<Map>().empty() && reply[3].as<Pairs>().empty());
    // A key that is an array itself.
    CHECK((reply[4].as<std::map<std::pair<int, int>, std::string>>() ==
           std::map<std::pair<int, int>, std::string>{{{1, 2}, "x"}}));
    says(reply[5].try_as<Map>().error(), "the reply is an array of an odd number of elements, not a map");
    says(reply[6].try_as<Map>().error(), "the reply is a string, not a map");
    says(reply[6].try_as<Pairs>().error(), "the reply is a string, not an array");
    says(reply[4].try_as<Map>().error(), "element 1 of the reply is a string, not an array of 2");
    // As servers give them.
    client.command({"DEL", "h", "z"});
    client.command({"HSET", "h", "f", 1});
    client.command({"ZADD", "z", 1.5, "m"});
    for (std::int32_t protocol : {RS_PROTOCOL_RESP2, RS_PROTOCOL_RESP3}) {
        rs::Client of(server_url(one), rs::Options().protocol(protocol));
        CHECK((of.command({"HGETALL", "h"}).as<Map>() == Map{{"f", 1}}));
        CHECK((of.command({"ZRANGE", "z", 0, -1, "WITHSCORES"}).as<std::map<std::string, double>>() ==
               std::map<std::string, double>{{"m", 1.5}}));
    }
}

static void ranges_of_types() {
    rs::Client client(server_url(one));
    rs::Script script(client, "redis.setresp(3) return {127, 128, -1, 255, 256, '9223372036854775808', "
                              "'-9223372036854775808', '18446744073709551616',"
                              "{double = 1e300}, '1e400', {double = 1e999}, 'inf', '-inf', ' 1', '+1', '1 ', '0x10', "
                              "'1e2', {verbatim_string = {string = '2.5', format = 'txt'}}}");
    const rs::Reply reply = script.call({}, {});
    CHECK_INT(reply[0].as<std::int8_t>(), 127);
    says(reply[1].try_as<std::int8_t>().error(),
         "the reply is an integer out of range, not an integer from -128 to 127");
    says(reply[2].try_as<unsigned>().error(), "not an integer from 0 to 4294967295");
    CHECK_INT(reply[3].as<std::uint8_t>(), 255);
    CHECK(!reply[4].try_as<std::uint8_t>());
    CHECK(reply[5].as<std::uint64_t>() == 9223372036854775808U && !reply[5].try_as<std::int64_t>());
    CHECK(reply[6].as<std::int64_t>() == std::numeric_limits<std::int64_t>::min() &&
          !reply[7].try_as<std::uint64_t>());
    CHECK(reply[8].as<double>() == 1e300);
    says(reply[8].try_as<float>().error(), "a double out of range");
    CHECK(!reply[9].try_as<double>());
    const double infinity = std::numeric_limits<double>::infinity();
    CHECK(reply[10].as<double>() == infinity && reply[11].as<double>() == infinity &&
          reply[12].as<float>() == -std::numeric_limits<float>::infinity());
    for (std::size_t odd : {13U, 14U, 15U, 16U}) {
        says(reply[odd].try_as<double>().error(), "the reply is a string that is no such number, not a number");
        CHECK(!reply[odd].try_as<int>());
    }
    CHECK(reply[17].as<double>() == 100 && !reply[17].try_as<int>());
    CHECK(reply[18].as<double>() == 2.5);
}

// A type of the program's own.
struct Point {
    int x, y;
};

template <> struct rs::Conversion<Point> {
    static rs::Result<Point> of(rs::ReplyView reply) {
        return reply.try_as<std::pair<int, int>>().transform([](const std::pair<int, int> &xy) {
            return Point{xy.first, xy.second};
        });
    }
};

static void own_types_and_bytes() {
    rs::Client client(server_url(one));
    rs::Script script(client, "return {{1, 2}, {3, 4}, 'a\\0b', {{5, 6}, {7, 'x'}}}");
    const rs::Reply reply = script.call({}, {});
    CHECK_INT(reply[1].as<Point>().y, 4);
    says(reply[3].try_as<std::vector<Point>>().error(), "element 1 of the reply is a string that is no such number");
    CHECK((reply[2].as<std::vector<std::byte>>() ==
           std::vector<std::byte>{std::byte{'a'}, std::byte{0}, std::byte{'b'}}));
    CHECK((reply[0].as<std::array<int, 2>>() == std::array<int, 2>{1, 2}));
    CHECK((reply[0].as<std::deque<long>>() == std::deque<long>{1, 2}));
    CHECK((reply[0].as<std::unordered_set<int>>() == std::unordered_set<int>{1, 2}));
    // Of a reply without a name.
    CHECK_INT(script.call({}, {})[3][1][0].as<int>(), 7);
    CHECK(script.call({}, {})[3].try_as<int>().error().status() == RS_ERR_INVALID_ARGUMENT);
}

static void what_does_not_fit() {
    rs::Client client(server_url(one));
    rs::Script script(client, "return {300, 'sesame', {1, {'y'}}, {err = 'WRONG server text'}, -1, ''}");
    const rs::Reply reply = script.call({}, {});
    says(reply[1].try_as<int>().error(),
         "the reply is a string that is no such number, not an integer from -2147483648 to 2147483647");
    says(reply[5].try_as<int>().error(), "that is no such number");
    says(reply.try_as<int>().error(), "the reply is an array, not an integer");
    says(reply[2].try_as<std::vector<std::vector<int>>>().error(),
         "element 0 of the reply is an integer, not an array");
    says(reply[2].try_as<std::tuple<int, std::vector<int>>>().error(),
         "element 0 of element 1 of the reply is a string");
    says(reply[2].try_as<std::tuple<int>>().error(), "an array of 2, not an array of 1");
    CHECK(reply[0].as<bool>());
    says(reply[1].try_as<bool>().error(), "the reply is a string, not a boolean");
    says(reply[3].try_as<int>().error(), "WRONG server text");
    CHECK_INT(reply[3].try_as<int>().error().status(), RS_ERR_SERVER);
    CHECK_INT(reply.try_as<int>().error().status(), RS_ERR_INVALID_ARGUMENT);
    says(client.command({"GET", "none"}).try_as<std::string>().error(), "nil, not a string");
    says(thrown_by([&] { client.command({"GET", "none"}).as<int>(); }), "nil, not an integer");
    says(rs::ReplyView().try_as<int>().error(), "no reply");
    // The value is told to nobody.
    for (const rs::Error &error :
         {reply[0].try_as<signed char>().error(), reply[1].try_as<int>().error(), reply[1].try_as<double>().error()})
        CHECK(!std::strstr(error.what(), "300") && !std::strstr(error.what(), "sesame"));
    // The script has run: nothing is said of that.
    CHECK(!reply[1].try_as<int>().error().is_not_executed() && !reply[1].try_as<int>().error().is_indeterminate());
}

// The members of std::expected, in every standard.
static void results() {
    rs::Client client(server_url(one));
    client.command({"SET", "five", 5});
    const auto number_at = [&](std::string_view key) {
        return client.try_command({"GET", key}).and_then([](const rs::Reply &reply) { return reply.try_as<int>(); });
    };
    CHECK_INT(number_at("five").value(), 5);
    CHECK_INT(number_at("none").value_or(7), 7);
    CHECK_INT(number_at("five").transform([](int n) { return n * 2; }).value(), 10);
    CHECK(!number_at("none").transform([](int n) { return n * 2; }));
    CHECK_INT(number_at("none").or_else([](const rs::Error &) { return rs::Result<int>(9); }).value(), 9);
    CHECK_INT(*number_at("five").or_else([](const rs::Error &error) { return rs::Result<int>(error); }), 5);
    rs::Result<rs::Reply> moved = client.try_command({"ECHO", "x"});
    const rs::Reply kept = *std::move(moved);
    CHECK(kept.string() == "x");
    // It lives as long as its name does.
    const rs::Reply &bound = *client.try_command({"ECHO", "y"});
    CHECK(bound.string() == "y");
    const rs::Error &error = client.try_command({"GET"}).error();
    CHECK(error.server_code() == "ERR" && client.try_command({"GET"}).error().server_code() == "ERR");
    const rs::Result<rs::Reply> refused = client.try_command({"SUBSCRIBE", "x"});
    CHECK(!refused.has_value() && refused.error().status() == RS_ERR_COMMAND_REFUSED);
    CHECK_INT(thrown_by([&] { (void)refused.value(); }).status(), RS_ERR_COMMAND_REFUSED);
    int ran = 0;
    CHECK(client.try_script_flush().and_then([&] { return ++ran, rs::Result<void>(); }).has_value());
    CHECK_INT(client.try_script_flush().transform([&] { return ++ran; }).value(), 2);
    CHECK(!client.try_script_kill().transform([&] { ++ran; }).has_value() && ran == 2);
    CHECK(client.try_script_kill().or_else([&](const rs::Error &) { return ++ran, rs::Result<void>(); }).has_value() &&
          ran == 3);
}

static void expected() {
#ifdef __cpp_lib_expected
    static_assert(std::is_base_of_v<std::expected<rs::Reply, rs::Error>, rs::Result<rs::Reply>>);
    static_assert(std::is_base_of_v<std::expected<void, rs::Error>, rs::Result<void>>);
    rs::Client client(server_url(one));
    const std::expected<rs::Reply, rs::Error> pong = client.try_command({"PING"});
    CHECK(pong.has_value() && pong->string() == "PONG");
    const std::expected<rs::Reply, rs::Error> refused = client.try_command({"SUBSCRIBE", "x"});
    CHECK(!refused && refused.error().status() == RS_ERR_COMMAND_REFUSED);
    const std::expected<void, rs::Error> idle = client.try_script_kill();
    CHECK(!idle && idle.error().server_code() == "NOTBUSY");
    // Functions of both kinds in one chain.
    const auto number = [](const rs::Reply &reply) -> std::expected<int, rs::Error> { return reply.try_as<int>(); };
    client.command({"SET", "five", 5});
    CHECK_INT(client.try_command({"GET", "five"}).and_then(number).value(), 5);
    CHECK(!client.try_command({"GET"}).and_then(number));
    const auto failing = [](int) -> rs::Result<int> {
        return std::unexpected(rs::Error(RS_ERR_INVALID_ARGUMENT, "no"));
    };
    CHECK(!rs::Result<int>(1).and_then(failing));
#endif
}

int main() {
    one = server_start();
    RUN(values);
    RUN(maps);
    RUN(ranges_of_types);
    RUN(own_types_and_bytes);
    RUN(what_does_not_fit);
    RUN(results);
    RUN(expected);
}
