// What goes into lists of keys and arguments: numbers, pieces of memory, ranges of every kind; and that little of it
// is copied.
#include <rs_script.hpp>

#include <forward_list>
#include <list>
#include <locale>
#include <map>
#include <set>
#include <sstream>

#if defined(__cpp_lib_ranges)
#include <ranges>
#endif
#if defined(__cpp_lib_span)
#include <span>
#endif

#include "support/check.h"
#include "support/server.h"
#include "thrown_by.hpp"

static server *one;
using Texts = std::vector<std::string>;

static void numbers() {
    rs::Client client(server_url(one));
    rs::Script echo(client, "return ARGV");
    const std::string name = "counter";
    client.command({"DEL", name});
    CHECK_INT(client.command({"INCRBY", name, 5}).integer(), 5);
    CHECK_INT(client.command({"INCRBY", name, std::int64_t(-7)}).integer(), -2);
    CHECK((echo.call({}, {0, -1, 18446744073709551615U, std::int8_t(-8), std::uint8_t(200)}).as<Texts>() ==
           Texts{"0", "-1", "18446744073709551615", "-8", "200"}));
    // The shortest form that gives the same number again.
    CHECK((echo.call({}, {0.1, 1e300, 2.5F, 0.1F, 1.0, -0.0}).as<Texts>() ==
           Texts{"0.1", "1e+300", "2.5", "0.1", "1", "-0"}));
    const std::vector<double> hard{1.0 / 3, 5e-324, 1.7976931348623157e308, 123456789.123456789,
                                   2.2250738585072014e-308};
    CHECK(echo.call({}, hard).as<std::vector<double>>() == hard);
    const double infinity = std::numeric_limits<double>::infinity();
    CHECK((echo.call({}, {infinity, -infinity}).as<Texts>() == Texts{"inf", "-inf"}));
    // Around the inline size, and far beyond; with strings in between.
    for (std::size_t count :
         {rs::Strings::inline_size - 1, rs::Strings::inline_size, rs::Strings::inline_size + 1, std::size_t(5000)}) {
        std::vector<std::int64_t> many;
        for (std::size_t i = 0; i < count; ++i) many.push_back(std::int64_t(i) * 1000000007);
        CHECK(echo.call({}, many).as<std::vector<std::int64_t>>() == many);
    }
    CHECK((
        echo.call({}, {1, "a", 2, "b", 3, "c", 4, "d", 5, "e", 6, "f", 7, "g", 8, "h", 9, "i", 10, "j"}).as<Texts>() ==
        Texts{"1", "a", "2", "b", "3", "c", "4", "d", "5", "e", "6", "f", "7", "g", "8", "h", "9", "i", "10", "j"}));
}

#if defined(__clang__)
#pragma clang diagnostic ignored "-Wdangling" // it warns of lists with a name, and is right
#endif
// A list that has a name keeps its numbers, and refers to strings that live on.
static void a_named_list() {
    rs::Client client(server_url(one));
    rs::Script echo(client, "return ARGV");
    const std::string text = "text";
    const rs::Strings args{1, text, 2.5};
    char clobber[4096];
    std::memset(clobber, 'x', sizeof clobber);
    CHECK(clobber[17] == 'x' && (echo.call({}, args).as<Texts>() == Texts{"1", "text", "2.5"}));
    CHECK((echo.call({}, rs::list(1, text, "b", 2.5)).as<Texts>() == Texts{"1", "text", "b", "2.5"}));
    CHECK(echo.call(rs::list(), rs::list()).as<Texts>().empty());
}

static void pieces_of_memory() {
    rs::Client client(server_url(one));
    rs::Script echo(client, "return ARGV");
    const std::vector<std::byte> bytes{std::byte{0}, std::byte{255}};
    const std::array<unsigned char, 3> three{'a', 0, 'b'};
    const std::vector<char> letters{'x', 'y'};
    const unsigned char raw[] = {1, 2};
    CHECK((echo.call({}, {bytes, three, letters, raw, std::vector<std::byte>()}).as<Texts>() ==
           Texts{std::string("\0\xff", 2), std::string("a\0b", 3), "xy", "\1\2", ""}));
#if defined(__cpp_lib_span)
    CHECK((echo.call({}, {std::span<const std::byte>(bytes), std::as_bytes(std::span(letters))}).as<Texts>() ==
           Texts{std::string("\0\xff", 2), "xy"}));
#endif
}

static void no_pointer() {
    rs::Client client(server_url(one));
    const char *const nothing = nullptr;
    const std::vector<const char *> some{"ECHO", nullptr};
    for (const rs::Error &error : {client.try_command({"ECHO", nothing}).error(), client.try_command(some).error()}) {
        CHECK(error.status() == RS_ERR_INVALID_ARGUMENT && error.is_not_executed());
        CHECK_HOLDS(error.what(), "argv[1]");
    }
    CHECK(client.command({"ECHO", std::string_view()}).as<std::string>().empty());
}

// An iterator that keeps what it has read: the string is another one when it has moved.
struct Words {
    struct iterator {
        using iterator_category = std::input_iterator_tag;
        using value_type = std::string;
        using difference_type = std::ptrdiff_t;
        using pointer = const std::string *;
        using reference = const std::string &;
        int left;
        std::string word;
        const std::string &operator*() const { return word; }
        iterator &operator++() { return word.assign(1, static_cast<char>('a' + --left)), *this; }
        bool operator!=(const iterator &other) const { return left != other.left; }
    };
    iterator begin() const { return {3, "z"}; }
    iterator end() const { return {0, ""}; }
};

// One whose strings are gone when it moves, and that says nothing of itself.
struct Temporaries {
    struct iterator {
        int i;
        std::string operator*() const { return std::to_string(i) + std::string(100, '.'); }
        iterator &operator++() { return ++i, *this; }
        bool operator!=(iterator other) const { return i != other.i; }
    };
    iterator begin() const { return {0}; }
    iterator end() const { return {40}; }
};

static void ranges() {
    rs::Client client(server_url(one));
    rs::Script echo(client, "return {KEYS, ARGV}");
    using Both = std::pair<Texts, Texts>;
    const std::list<std::string> keys{"{k}1", "{k}2"};
    CHECK((echo.call(keys, std::forward_list<std::string_view>{"a", "b"}).as<Both>() ==
           Both{{"{k}1", "{k}2"}, {"a", "b"}}));
    CHECK((echo.call(std::set<std::string>{"b", "a"}, std::set<int>{2, 1}).as<Both>().second == Texts{"1", "2"}));
    CHECK((echo.call({}, Words()).as<Both>().second == Texts{"z", "c", "b"}));
    Texts made = echo.call({}, Temporaries()).as<Both>().second;
    CHECK(made.size() == 40 && made[0] == "0" + std::string(100, '.') && made[39] == "39" + std::string(100, '.'));
#if defined(__cpp_lib_ranges)
    std::istringstream words("some words that are read");
    const std::map<std::string, int> scores{{"x", 1}, {"y", 2}};
    CHECK((echo.call({}, scores | std::views::keys).as<Both>().second == Texts{"x", "y"}));
    CHECK((echo.call({}, scores | std::views::values).as<Both>().second == Texts{"1", "2"}));
    CHECK((echo.call({}, scores | std::views::transform([](const auto &score) { return score.first + "!"; }))
               .as<Both>()
               .second == Texts{"x!", "y!"}));
    CHECK((echo.call({}, scores | std::views::transform([](const auto &score) { return score.second * 2.5; }))
               .as<Both>()
               .second == Texts{"2.5", "5"}));
    CHECK(
        (echo.call({}, scores | std::views::transform([](const auto &score) { return std::string_view(score.first); }))
             .as<Both>()
             .second == Texts{"x", "y"}));
    // A view whose begin() is not const, and one that is gone over once.
    const Texts some{"a", "", "b"};
    CHECK((echo.call({}, some | std::views::filter([](const std::string &word) { return !word.empty(); }))
               .as<Both>()
               .second == Texts{"a", "b"}));
    CHECK((echo.call({}, std::ranges::istream_view<std::string>(words)).as<Both>().second ==
           Texts{"some", "words", "that", "are", "read"}));
    // What has come in goes out again.
    const rs::Reply reply = echo.call({}, some);
    CHECK((echo.call({}, reply[1] | std::views::transform([](rs::ReplyView word) { return word.string(); }))
               .as<Both>()
               .second == some));
#endif
}

// A locale that writes 1,5 and 1.000.
struct Commas : std::numpunct<char> {
    char do_decimal_point() const override { return ','; }
    char do_thousands_sep() const override { return '.'; }
    std::string do_grouping() const override { return "\3"; }
};

// What goes in and comes out is the servers', whatever the program's locale.
static void another_locale() {
    rs::Client client(server_url(one));
    const std::locale before = std::locale::global(std::locale(std::locale::classic(), new Commas));
    std::ostringstream shown;
    shown << 1234.5;
    CHECK(shown.str() == "1.234,5");
    for (const char *number : {"1.5", "1234.5", "0.1"}) {
        const double value = client.command({"ECHO", number}).as<double>();
        CHECK(client.command({"ECHO", value}).as<std::string>() == number);
    }
    CHECK(!client.command({"ECHO", "1,5"}).try_as<double>());
    std::locale::global(before);
}

// Strings that a range gives by value: with their text in them, and pointers, the last of which is NULL.
template <class Item> Item made(int number) {
    if constexpr (std::is_pointer_v<Item>) return number < 2 ? "text" : nullptr;
    else return Item(number);
}

template <class Item, class Category> struct Made {
    struct iterator {
        using iterator_category = Category;
        using value_type = Item;
        using difference_type = std::ptrdiff_t;
        using pointer = const Item *;
        using reference = Item;

        int number;
        Item operator*() const { return made<Item>(number); }
        iterator &operator++() { return ++number, *this; }
        iterator operator++(int) { return {number++}; }
        friend bool operator==(iterator a, iterator b) { return a.number == b.number; }
        friend bool operator!=(iterator a, iterator b) { return a.number != b.number; }
    };
    iterator begin() const { return {0}; }
    iterator end() const { return {3}; }
};

struct Label {
    char text[4];
    explicit Label(int number) : text{'l', char('0' + number), 0, 0} {}
    operator std::string_view() const { return text; }
};

static void made_strings() {
    rs::Client client(server_url(one));
    rs::Script echo(client, "return ARGV");
    CHECK((echo.call({}, Made<Label, std::forward_iterator_tag>()).as<Texts>() == Texts{"l0", "l1", "l2"}));
    CHECK((echo.call({}, Made<Label, std::input_iterator_tag>()).as<Texts>() == Texts{"l0", "l1", "l2"}));
    for (const rs::Error &error : {echo.try_call({}, Made<const char *, std::forward_iterator_tag>()).error(),
                                   echo.try_call({}, Made<const char *, std::input_iterator_tag>()).error()})
        CHECK_INT(error.status(), RS_ERR_INVALID_ARGUMENT);
}

int main() {
    one = server_start();
    RUN(numbers);
    RUN(a_named_list);
    RUN(pieces_of_memory);
    RUN(no_pointer);
    RUN(ranges);
    RUN(made_strings);
    RUN(another_locale);
}
