// Device memory: an arena of its own, so that host pointers, freed blocks and overruns are seen.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace standin::memory {
// A block of `bytes`; nullptr when the device is full. Fresh memory holds 0xE5 bytes (a float of
// about -1.4e23), and reading it before anything wrote there is an error.
void* allocate(size_t bytes);
bool release(void* pointer);
bool on_device(const void* pointer);
size_t in_use();
size_t capacity();
// Empty when [pointer, pointer + bytes) lies inside one living block, else what is wrong with it.
std::string complaint(const void* pointer, size_t bytes);
// What was written since allocation; `unwritten` tells the first byte of a range nobody wrote.
void note_written(const void* pointer, size_t bytes);
bool unwritten(const void* pointer, size_t bytes);
// The second way to memory: addresses first, pages later (in pieces, side by side).
void* reserve(size_t bytes);
bool map(void* pointer, size_t bytes);
bool unmap(void* pointer);
}  // namespace standin::memory
