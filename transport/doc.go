// Package transport is the contract between the engine, which runs schedules, and whatever carries frames between
// ranks.
//
// A [Transport] makes an [Endpoint] for each rank; an endpoint opens a [Link] to each peer and channel that a schedule
// needs. Links are polled: nothing blocks, and payloads are borrowed, not copied, wherever the carrier can. A rank that
// has nothing to do sleeps on its [Bell], which its links ring. The packages below are the carriers, and
// transporttest is the suite that each of them passes.
package transport
