import Foundation

/// An image: width × height × 3 bytes, red first.
public struct Pixels: Equatable {
    public let width: Int
    public let height: Int
    public var data: [UInt8]

    public init(width: Int, height: Int, data: [UInt8]) {
        self.width = width
        self.height = height
        self.data = data
    }
}

/// From pixels to the input tensor, as `preprocessing` in model.json says, to the byte. Core Graphics, vImage
/// and Vision scale otherwise.
public enum Preprocess {
    private static let weightBits = 22

    /// The image in the model's size; `crop` takes the largest centre of the model's shape, else all of it is
    /// squeezed. Of either the middle `fraction` of each side is seen.
    public static func resize(
        _ image: Pixels, width: Int, height: Int, crop: Bool, fraction: Double
    ) -> Pixels {
        let cut = centre(image, width: width, height: height, crop: crop, fraction: fraction)
        let narrow = pass(
            cut.data, lines: cut.height, from: cut.width, to: width,
            lineStep: cut.width * 3, step: 3, newLineStep: width * 3, newStep: 3)
        let short = pass(
            narrow, lines: width, from: cut.height, to: height,
            lineStep: 3, step: width * 3, newLineStep: 3, newStep: width * 3)
        return Pixels(width: width, height: height, data: short)
    }

    /// The input tensor's bytes: pixel u enters as u * multiply + add.
    public static func scale(_ image: Pixels, _ input: Card.Tensor) throws -> Data {
        let multiply = input.multiply ?? 1
        let add = input.add ?? 0
        let levels = (0..<256).map { Double($0) * multiply + add }
        let whole = levels.map { Int($0.rounded(.toNearestOrEven)) }
        switch input.dtype {
        case "uint8": return Data(image.data.map { UInt8(whole[Int($0)]) })
        case "int8": return Data(image.data.map { UInt8(bitPattern: Int8(whole[Int($0)])) })
        case "int16": return bytes(image.data.map { Int16(whole[Int($0)]) })
        case "float32": return bytes(image.data.map { Float32(levels[Int($0)]) })
        default: throw SampleError.unsupported("an input of \(input.dtype)")
        }
    }

    private static func bytes<Number>(_ numbers: [Number]) -> Data {
        numbers.withUnsafeBufferPointer { Data(buffer: $0) }
    }

    private static func centre(
        _ image: Pixels, width: Int, height: Int, crop: Bool, fraction: Double
    ) -> Pixels {
        let side = min(Double(image.height) / Double(height), Double(image.width) / Double(width))
        let high = crop ? side * Double(height) : Double(image.height)
        let wide = crop ? side * Double(width) : Double(image.width)
        let cutHeight = min(image.height, max(1, Int((high * fraction).rounded(.toNearestOrEven))))
        let cutWidth = min(image.width, max(1, Int((wide * fraction).rounded(.toNearestOrEven))))
        if cutHeight == image.height && cutWidth == image.width { return image }
        let top = (image.height - cutHeight) / 2
        let left = (image.width - cutWidth) / 2
        var data: [UInt8] = []
        data.reserveCapacity(cutHeight * cutWidth * 3)
        for y in top..<(top + cutHeight) {
            let start = (y * image.width + left) * 3
            data += image.data[start..<(start + cutWidth * 3)]
        }
        return Pixels(width: cutWidth, height: cutHeight, data: data)
    }

    /// One direction: every line of `count` pixels becomes one of `size`; steps in bytes.
    private static func pass(
        _ input: [UInt8], lines: Int, from count: Int, to size: Int,
        lineStep: Int, step: Int, newLineStep: Int, newStep: Int
    ) -> [UInt8] {
        var output = [UInt8](repeating: 0, count: lines * size * 3)
        let ratio = Double(count) / Double(size)
        let stretch = max(ratio, 1) // antialias: the kernel widens when it shrinks
        let inverse = 1 / stretch
        for i in 0..<size {
            let middle = (Double(i) + 0.5) * ratio
            let first = max(Int(middle - stretch + 0.5), 0)
            let last = min(Int(middle + stretch + 0.5), count)
            let shares = (first..<last).map { j in
                max(0, 1 - abs((Double(j) - middle + 0.5) * inverse))
            }
            let total = shares.reduce(0, +)
            let weights = shares.map { Int(0.5 + $0 / total * Double(1 << weightBits)) }
            for line in 0..<lines {
                for channel in 0..<3 {
                    var at = line * lineStep + first * step + channel
                    var sum = 1 << (weightBits - 1)
                    for weight in weights {
                        sum += Int(input[at]) * weight
                        at += step
                    }
                    output[line * newLineStep + i * newStep + channel] = UInt8(min(sum >> weightBits, 255))
                }
            }
        }
        return output
    }
}
