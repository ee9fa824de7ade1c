// The memory of one emulated GPU: a reserved range of addresses, out of the host's reach unless opened.
//
// Every allocation lies between redzones of a pattern; memory is poisoned when it is given out and when it is freed.
// Bytes of both are NaN in every floating type.
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace shim {

class Arena {
 public:
  explicit Arena(size_t limit);

  // All of these but `contains` and `protect` need the memory open. The texts are empty if all is well.
  void* allocate(size_t size, std::string* damage);  // null beyond the limit
  std::string release(void* pointer);
  std::string damage() const;
  std::string outside(const void* pointer, size_t size) const;  // is [pointer, + size) within one allocation?

  bool contains(const void* pointer) const;
  bool allocated(const void* pointer) const;
  void protect(bool on);
  size_t available() const { return limit_ - used_; }
  size_t limit() const { return limit_; }

 private:
  struct Allocation {
    size_t size, block;  // of the user; with redzones
  };

  std::string look_at(unsigned char* pointer, const Allocation& allocation) const;

  size_t limit_, used_ = 0, reserved_;
  unsigned char* base_;
  unsigned char* touched_;  // what lies above was never given out
  unsigned char* mapped_;   // up to here the protection is switched
  bool open_ = false;
  std::map<unsigned char*, Allocation> allocations_;
  std::map<unsigned char*, size_t> holes_;  // freed blocks below touched_, merged
};

}  // namespace shim
