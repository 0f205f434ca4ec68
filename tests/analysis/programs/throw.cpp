// An exception that nobody catches, through templates, lambdas, operators and a second thread.
#include <algorithm>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#include <unistd.h>

namespace shop {

template <typename Key, typename Value>
class Basket {
public:
    __attribute__((noinline)) Value operator[](const Key &key) const
    {
        auto found = items.find(key);
        if (found == items.end())
            throw std::out_of_range("no " + key);
        return found->second;
    }
    template <typename Visitor>
    __attribute__((noinline)) void visit(Visitor &&visitor)
    {
        for (auto &item : items)
            visitor(item.first, item.second);
    }
    std::map<Key, Value> items;
};

struct Customer {
    virtual ~Customer() noexcept = default;
    __attribute__((noinline)) virtual long pay(const std::vector<std::string> &names, Basket<std::string, long> &basket) const;
};

long Customer::pay(const std::vector<std::string> &names, Basket<std::string, long> &basket) const
{
    long sum = 0;
    std::for_each(names.begin(), names.end(), [&](const std::string &name) {
        basket.visit([&](const std::string &, long price) { sum += price + basket[name]; });
    });
    return sum;
}

} // namespace shop

__attribute__((noinline)) static long run(std::function<long(int)> work, int times)
{
    long sum = work(times);
    asm volatile("" ::: "memory");
    return sum;
}

int main()
{
    std::thread waiting([] { pause(); });
    shop::Basket<std::string, long> basket;
    basket.items["tea"] = 3;
    shop::Customer customer;
    std::vector<std::string> names{"tea", "milk"};
    return (int)run([&](int times) { return times * customer.pay(names, basket); }, 2);
}
