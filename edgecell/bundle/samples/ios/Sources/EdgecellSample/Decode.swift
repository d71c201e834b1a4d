import CoreGraphics
import Foundation
import ImageIO

/// Image files → pixels, upright, transparency over black, without colour management.
public enum Decode {
    public static func pixels(_ encoded: Data, maxPixels: Int) throws -> Pixels {
        guard let source = CGImageSourceCreateWithData(encoded as CFData, nil),
            let image = CGImageSourceCreateImageAtIndex(source, 0, nil)
        else { throw SampleError.unreadable("no image") }
        guard image.width * image.height <= maxPixels else {
            throw SampleError.unreadable("more than \(maxPixels) pixels")
        }
        let properties = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any]
        let orientation = properties?[kCGImagePropertyOrientation] as? Int ?? 1
        return upright(try pixels(image), orientation)
    }

    /// A camera's picture, as it is stored.
    public static func pixels(_ image: CGImage) throws -> Pixels {
        let grey = image.colorSpace?.model == .monochrome
        let channels = grey ? 1 : 4
        // The image's own colour space, so that nothing is converted.
        let space = grey || image.colorSpace?.model == .rgb ? image.colorSpace : nil
        let alpha: CGImageAlphaInfo = grey ? .none : .noneSkipLast
        guard
            let context = CGContext(
                data: nil, width: image.width, height: image.height, bitsPerComponent: 8,
                bytesPerRow: image.width * channels, space: space ?? CGColorSpaceCreateDeviceRGB(),
                bitmapInfo: alpha.rawValue)
        else { throw SampleError.unreadable("a colour space that cannot be drawn in") }
        context.interpolationQuality = .none
        context.draw(image, in: CGRect(x: 0, y: 0, width: image.width, height: image.height))
        guard let memory = context.data else { throw SampleError.unreadable("no memory") }
        let count = image.width * image.height
        let stored = memory.bindMemory(to: UInt8.self, capacity: count * channels)
        var data = [UInt8](repeating: 0, count: count * 3)
        for i in data.indices {
            data[i] = grey ? stored[i / 3] : stored[i / 3 * 4 + i % 3]
        }
        return Pixels(width: image.width, height: image.height, data: data)
    }

    /// Turned by the eight orientations of EXIF.
    public static func upright(_ image: Pixels, _ orientation: Int) -> Pixels {
        guard (2...8).contains(orientation) else { return image }
        let transposed = orientation >= 5
        let flipRows = [3, 4, 7, 8].contains(orientation)
        let flipColumns = [2, 3, 6, 7].contains(orientation)
        let width = transposed ? image.height : image.width
        let height = transposed ? image.width : image.height
        var data = [UInt8](repeating: 0, count: image.data.count)
        for y in 0..<height {
            for x in 0..<width {
                let row = flipRows ? height - 1 - y : y
                let column = flipColumns ? width - 1 - x : x
                let from = transposed ? column * image.width + row : row * image.width + column
                for channel in 0..<3 {
                    data[(y * width + x) * 3 + channel] = image.data[from * 3 + channel]
                }
            }
        }
        return Pixels(width: width, height: height, data: data)
    }
}
