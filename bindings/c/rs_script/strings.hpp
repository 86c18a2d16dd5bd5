// rs::Strings: lists of keys and arguments, as C wants them, of whatever a program has at hand.

#ifndef RS_SCRIPT_STRINGS_HPP
#define RS_SCRIPT_STRINGS_HPP

#include <array>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <rs_script/detail.hpp>

#if !defined(__cpp_lib_to_chars)
#include <cmath>
#include <locale>
#include <sstream>
#endif

namespace rs {
namespace detail {

template <class T> using plain_t = std::remove_cv_t<std::remove_reference_t<T>>;

// Whether a type stands for one string.
template <class T> inline constexpr bool is_string = std::is_convertible_v<const T &, std::string_view>;

// Whether a type is written as a number. A character may be meant as a letter, a bool as a word: neither is taken.
template <class T, class Plain = plain_t<T>>
inline constexpr bool is_number = std::is_arithmetic_v<Plain> && !std::is_same_v<Plain, bool> &&
                                  !std::is_same_v<Plain, char> && !std::is_same_v<Plain, wchar_t> &&
#ifdef __cpp_char8_t
                                  !std::is_same_v<Plain, char8_t> &&
#endif
                                  !std::is_same_v<Plain, char16_t> && !std::is_same_v<Plain, char32_t>;

template <class T, class Plain = plain_t<T>>
inline constexpr bool is_byte = std::is_same_v<Plain, std::byte> || std::is_same_v<Plain, unsigned char> ||
#ifdef __cpp_char8_t
                                std::is_same_v<Plain, char8_t> ||
#endif
                                std::is_same_v<Plain, char>;

// Whether a type is a piece of memory with bytes in it that is no string_view: std::vector<std::byte>,
// std::span<const unsigned char>, ...
template <class T, class = void> inline constexpr bool is_bytes = false;
template <class T> inline constexpr bool is_bytes<
    T, std::void_t<decltype(std::data(std::declval<const T &>())), decltype(std::size(std::declval<const T &>()))>> =
    !is_string<T> && is_byte<decltype(*std::data(std::declval<const T &>()))>;

template <class Range> using iterator_t = decltype(std::begin(std::declval<Range &>()));
template <class Range> using item_t = decltype(*std::declval<iterator_t<Range> &>());

template <class Range, class = void> inline constexpr bool is_range_of_strings = false;
template <class Range>
inline constexpr bool is_range_of_strings<Range, std::void_t<item_t<Range>>> =
    !is_string<Range> && !is_bytes<Range> && is_string<plain_t<item_t<Range>>>;

template <class Range, class = void> inline constexpr bool is_range_of_numbers = false;
template <class Range>
inline constexpr bool is_range_of_numbers<Range, std::void_t<item_t<Range>>> =
    !is_string<Range> && !is_bytes<Range> && is_number<item_t<Range>>;

// Whether what an iterator has given stays where it is when it moves on.
template <class Iterator, class = void> inline constexpr bool is_multipass = false;
template <class Iterator>
inline constexpr bool is_multipass<Iterator, std::void_t<typename std::iterator_traits<Iterator>::iterator_category>> =
#ifdef __cpp_lib_ranges
    std::forward_iterator<Iterator> ||
#endif
    std::is_base_of_v<std::forward_iterator_tag, typename std::iterator_traits<Iterator>::iterator_category>;

// Whether the strings of a range need not be copied: those that it refers to, and views. What else it may give by value
// may hold its text itself.
template <class Range>
inline constexpr bool has_lasting_strings =
    is_multipass<iterator_t<Range>> &&
    (std::is_lvalue_reference_v<item_t<Range>> || std::is_pointer_v<plain_t<item_t<Range>>> ||
     std::is_same_v<plain_t<item_t<Range>>, std::string_view>);

#if !defined(__cpp_lib_to_chars)
// The whole text as a floating-point number, whatever the program's locale is; false where it is something else or out
// of range.
template <class T> bool read_floating_text(const std::string &text, T &number) {
    std::istringstream reader(text);
    reader.imbue(std::locale::classic());
    // Numbers below the smallest normal one are there, and yet a failure to some.
    if (!(reader >> number) && !(number != 0 && std::fabs(number) < std::numeric_limits<T>::min())) return false;
    reader.clear();
    return reader.peek() == std::istringstream::traits_type::eof();
}
#endif

// A number in the shortest form that gives the same number again.
class Number {
public:
    Number() noexcept {}
    template <class T> explicit Number(T number) {
#if !defined(__cpp_lib_to_chars)
        if constexpr (std::is_floating_point_v<T>) spell(number);
        else
#endif
            size_ = static_cast<std::size_t>(std::to_chars(text_.data(), text_.data() + text_.size(), number).ptr -
                                             text_.data());
    }

    std::string_view view() const noexcept RS_SCRIPT_LIFETIMEBOUND { return std::string_view(text_.data(), size_); }

private:
#if !defined(__cpp_lib_to_chars)
    // Whatever the program's locale is.
    template <class T> void spell(T number) {
        std::string text;
        for (int digits = std::numeric_limits<T>::digits10; digits <= std::numeric_limits<T>::max_digits10; ++digits) {
            std::ostringstream writer;
            writer.imbue(std::locale::classic());
            writer.precision(digits);
            writer << number;
            text = writer.str();
            T again{};
            if (!std::isfinite(number) || (read_floating_text(text, again) && again == number)) break;
        }
        size_ = text.copy(text_.data(), text_.size());
    }
#endif

    // The longest: `-1.18973149535723176502e+4932`.
    std::array<char, 40> text_;
    std::size_t size_ = 0;
};

// A string, a piece of memory or a number in a list in braces.
class Argument {
public:
    template <class T, std::enable_if_t<is_string<T>, int> = 0>
    Argument(const T &string RS_SCRIPT_LIFETIMEBOUND) noexcept {
        if constexpr (std::is_pointer_v<T>) {
            if (!string) {
                size_ = 1; // the C library says which one is NULL
                return;
            }
        }
        const std::string_view view = string;
        bytes_ = view.data();
        size_ = view.size();
    }

    template <class T, std::enable_if_t<is_bytes<T>, int> = 0>
    Argument(const T &bytes RS_SCRIPT_LIFETIMEBOUND) noexcept
        : bytes_(reinterpret_cast<const char *>(std::data(bytes))), size_(std::size(bytes)) {}

    template <class T, std::enable_if_t<is_number<T>, int> = 0>
    Argument(T number) : number_(number), is_number_(true) {}

    Argument(std::nullptr_t) = delete;

    const char *bytes() const noexcept { return bytes_; }
    std::size_t size() const noexcept { return size_; }
    const Number *number() const noexcept { return is_number_ ? &number_ : nullptr; }

private:
    const char *bytes_ = nullptr;
    std::size_t size_ = 0;
    Number number_;
    bool is_number_ = false;
};

} // namespace detail

// A list of strings to hand over: pointers and lengths. Made on the spot, of one of these:
//
// - a list in braces, `{"INCRBY", key, 5}`: what converts to std::string_view; numbers, which stand for the shortest
//   decimal form that gives them again; pieces of memory, as std::vector<std::byte>. Not bool and not single
//   characters: nobody knows whether 1, true or a letter is meant.
// - a range: of what converts to std::string_view, or of numbers. A std::list<std::string>, a std::array<int, 3>, a
//   view of C++20, ...
//
// A `const char *` that is NULL fails the call with RS_ERR_INVALID_ARGUMENT. Numbers, and strings that a range makes
// as it is gone over, are copied into the list. All other strings are referred to: they must live until the call
// returns, as temporaries in the call do. So a list in braces has no name of its own; Clang warns of one. A
// function of yours may take a `const rs::Strings &` and hand it on.
class Strings {
public:
    // So many strings and numbers need no memory from the heap.
    static constexpr std::size_t inline_size = 16;

    // No strings.
    Strings() noexcept {}

    // From a list in braces.
    Strings(std::initializer_list<detail::Argument> arguments RS_SCRIPT_LIFETIMEBOUND)
        : Strings(arguments.begin(), arguments.end()) {}

    // From a range of strings.
    template <class Range, std::enable_if_t<detail::is_range_of_strings<Range>, int> = 0>
    Strings(Range &&strings RS_SCRIPT_LIFETIMEBOUND) {
        auto last = std::end(strings);
        for (auto next = std::begin(strings); next != last; ++next) {
            auto &&item = *next;
            const detail::Argument argument(static_cast<const detail::plain_t<detail::item_t<Range>> &>(item));
            if constexpr (detail::has_lasting_strings<Range>) {
                add(argument.bytes(), argument.size());
            } else {
                if (argument.bytes() || argument.size() == 0) add_copy({argument.bytes(), argument.size()});
                else add(nullptr, argument.size()); // the C library says which one is NULL
            }
        }
        point_at_copies();
    }

    // From a range of numbers.
    template <class Range, std::enable_if_t<detail::is_range_of_numbers<Range>, int> = 0> Strings(Range &&numbers) {
        auto last = std::end(numbers);
        for (auto next = std::begin(numbers); next != last; ++next) add(detail::Number(*next));
        point_at_copies();
    }

    // A piece of memory is one argument, in braces: `{bytes}`.
    template <class Bytes, std::enable_if_t<detail::is_bytes<detail::plain_t<Bytes>>, int> = 0>
    Strings(Bytes &&) = delete;

    Strings(const Strings &) = delete;
    Strings &operator=(const Strings &) = delete;

    // How many.
    std::size_t size() const noexcept { return size_; }

    // Their first bytes.
    const char *const *data() const noexcept {
        return more_.pointers.empty() ? pointers_.data() : more_.pointers.data();
    }

    // Their lengths, in bytes.
    const std::size_t *lengths() const noexcept {
        return more_.lengths.empty() ? lengths_.data() : more_.lengths.data();
    }

private:
    template <class... Arguments> friend Strings list(const Arguments &...arguments);

    Strings(const detail::Argument *next, const detail::Argument *last) {
        for (; next != last; ++next) {
            if (next->number()) add(*next->number());
            else add(next->bytes(), next->size());
        }
        point_at_copies();
    }

    void add(const char *bytes, std::size_t size) {
        if (size_ < inline_size) {
            pointers_[size_] = bytes;
            lengths_[size_] = size;
        } else {
            if (size_ == inline_size) {
                more_.pointers.assign(pointers_.begin(), pointers_.end());
                more_.lengths.assign(lengths_.begin(), lengths_.end());
            }
            more_.pointers.push_back(bytes);
            more_.lengths.push_back(size);
        }
        ++size_;
    }

    void add(const detail::Number &number) {
        if (size_ >= inline_size) return add_copy(number.view());
        numbers_[size_] = number;
        add(numbers_[size_].view().data(), numbers_[size_].view().size());
    }

    // Where a copy is shows when all have been made.
    void add_copy(std::string_view string) {
        copies_.push_back({size_, copied_.size()});
        copied_.append(string);
        add(nullptr, string.size());
    }

    void point_at_copies() noexcept {
        const char **const pointers = more_.pointers.empty() ? pointers_.data() : more_.pointers.data();
        for (const Copy &copy : copies_) pointers[copy.index] = copied_.data() + copy.start;
    }

    // More than fit inline; all of them then.
    struct More {
        std::vector<const char *> pointers;
        std::vector<std::size_t> lengths;
    };

    struct Copy {
        std::size_t index, start;
    };

    std::size_t size_ = 0;
    std::array<const char *, inline_size> pointers_;
    std::array<std::size_t, inline_size> lengths_;
    std::array<detail::Number, inline_size> numbers_;
    More more_;
    std::string copied_;
    std::vector<Copy> copies_;
};

// The same list where braces cannot be written, as behind co_await in GCC up to 12:
// `co_await dispatcher.awaited(script, rs::list("k"), rs::list(5))`.
template <class... Arguments> Strings list(const Arguments &...arguments RS_SCRIPT_LIFETIMEBOUND) {
    const std::array<detail::Argument, sizeof...(Arguments)> made{detail::Argument(arguments)...};
    return Strings(made.data(), made.data() + made.size());
}

} // namespace rs

#endif // RS_SCRIPT_STRINGS_HPP
