#include "runtime/processors.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

namespace convpool {

namespace {

constexpr int kNoLimit = 1 << 16;

int whole_processors(double quota, double period) {
  if (!(quota > 0 && period > 0)) return kNoLimit;
  return static_cast<int>(std::clamp(std::ceil(quota / period), 1.0, double{kNoLimit}));
}

// Version 2: "max 100000" or "150000 100000".
int unified_limit(const std::string& folder) {
  double quota = 0, period = 0;
  std::ifstream file(folder + "/cpu.max");
  file >> quota >> period;
  return file ? whole_processors(quota, period) : kNoLimit;
}

// Version 1: a number of microseconds each, -1 without a limit.
int legacy_limit(const std::string& folder) {
  double quota = -1, period = 0;
  std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
  std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  return whole_processors(quota, period);
}

// The least limit of a group and all groups that hold it. `group` is "/" or "/a/b".
template <class Limit>
int least_limit(const std::string& mount, std::string group, Limit limit_of) {
  int least = limit_of(mount);
  for (; group.size() > 1; group.erase(group.rfind('/'))) least = std::min(least, limit_of(mount + group));
  return least;
}

// Where the groups of a hierarchy lie, for a line "4:cpu,cpuacct:/a/b" or "0::/a/b" of /proc/self/cgroup.
int limit_of_line(const std::string& root, const std::string& line) {
  const std::size_t first = line.find(':'), second = line.find(':', first + 1);
  if (second == std::string::npos || line.compare(second + 1, 1, "/") != 0) return kNoLimit;
  const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",",
                    group = line.substr(second + 1);
  if (controllers == ",,") return least_limit(root + "/sys/fs/cgroup", group, unified_limit);
  if (controllers.find(",cpu,") == std::string::npos) return kNoLimit;
  return least_limit(root + "/sys/fs/cgroup/cpu", group, legacy_limit);
}

}  // namespace

int affinity_processors() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int quota_processors(const std::string& root) {
  int least = kNoLimit;
  std::ifstream memberships(root + "/proc/self/cgroup");
  for (std::string line; std::getline(memberships, line);) least = std::min(least, limit_of_line(root, line));
  return least;
}

}  // namespace convpool
