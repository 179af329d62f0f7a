// Tiling key 2: a cube core multiplies, its two vector cores compute the weights. What both sides know:
// which cuboids a block computes in which round, and where they exchange scores and weights.
//
// The cube and the vector cores of 910B share global memory only. Scores [cuboids, L, heads, 16] go there
// in float (column j of 16 is key j; those beyond L mean nothing), weights come back in T, the same shape.
#ifndef CUBOID_ATTENTION_ROUNDS_H_
#define CUBOID_ATTENTION_ROUNDS_H_

#include "cuboid_attention_tile.h"

namespace cuboid {

using AscendC::GlobalTensor;

constexpr uint16_t kScoresReady = 0;   // flags between the cores of a block
constexpr uint16_t kWeightsReady = 1;
constexpr uint32_t kLag = kSlots - 2;  // rounds between the scores and the products with their weights

struct Rounds {
  __aicore__ inline Rounds() {}
  __aicore__ inline Rounds(const CuboidAttentionTiling& t, uint32_t block, uint32_t blocks)
      : ofRound(t.cuboidsOfRound) {
    const uint64_t cuboids = TilesOfGroup(t);
    first = cuboids * block / blocks;
    last = cuboids * (block + 1) / blocks;
    count = (last - first + ofRound - 1) / ofRound;
  }
  __aicore__ inline uint32_t Begin(uint32_t round) const { return first + round * ofRound; }
  __aicore__ inline uint32_t Cuboids(uint32_t round) const {
    const uint32_t left = last - Begin(round);
    return left < ofRound ? left : ofRound;
  }

  uint32_t first = 0, last = 0, ofRound = 0;
  uint32_t count = 0;  // of rounds
};

// The part of the workspace that a block uses: a slot for each of the rounds on their way. In the gradient
// the gradient of the weights follows the scores, and that of the scores the weights.
template <typename T, bool kGradient>
struct Exchange {
  __aicore__ inline Exchange() {}
  __aicore__ inline void Init(const CuboidAttentionTiling& t, GM_ADDR workspace, uint32_t block) {
    slotElements = t.slotElements;
    constexpr uint32_t kArrays = kGradient ? 2 : 1;
    const uint64_t bytes = uint64_t(kSlots) * slotElements * kArrays * (sizeof(float) + sizeof(T));
    GM_ADDR own = workspace + block * bytes;
    scores.SetGlobalBuffer((__gm__ float*)own, uint64_t(kSlots) * slotElements * kArrays);
    weights.SetGlobalBuffer((__gm__ T*)(own + uint64_t(kSlots) * slotElements * kArrays * sizeof(float)),
                            uint64_t(kSlots) * slotElements * kArrays);
  }
  // Element where an array of a round begins; arrays 0 and 1.
  __aicore__ inline uint64_t At(uint32_t round, uint32_t array) const {
    return uint64_t((kGradient ? 2 : 1) * (round % kSlots) + array) * slotElements;
  }

  uint32_t slotElements = 0;
  GlobalTensor<float> scores;
  GlobalTensor<T> weights;
};

}  // namespace cuboid

#endif  // CUBOID_ATTENTION_ROUNDS_H_
