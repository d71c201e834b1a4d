#if canImport(TensorFlowLite)
import Foundation
import TensorFlowLite

/// The model of the bundle, from a folder with model.json and model.tflite, such as `Bundle.main.bundleURL`.
/// Not a medical device; not for clinical use. Not thread-safe.
public final class Classifier {
    /// Show `card.verified.sentence` unless `card.verified.status` is "passed".
    public let card: Card
    private let interpreter: Interpreter

    public init(folder: URL) throws {
        card = try Card.read(folder)
        var options = Interpreter.Options()
        options.threadCount = 1
        let path = folder.appendingPathComponent(card.model.file).path
        interpreter = try Interpreter(modelPath: path, options: options)
        try interpreter.allocateTensors()
    }

    /// An image file → the model's own probability of each label.
    public func predict(_ encoded: Data) throws -> [Double] {
        let steps = card.preprocessing
        let decoded = try Decode.pixels(encoded, maxPixels: steps.decode.max_pixels)
        let resized = Preprocess.resize(
            decoded, width: steps.resize.width, height: steps.resize.height, crop: steps.fit.mode == "crop",
            fraction: steps.fit.central_fraction ?? 1)
        return card.probabilities(try card.values(try infer(try Preprocess.scale(resized, card.input))))
    }

    /// The input tensor's bytes → the output tensor's.
    public func infer(_ tensor: Data) throws -> Data {
        try interpreter.copy(tensor, toInputAt: 0)
        try interpreter.invoke()
        return try interpreter.output(at: 0).data
    }
}
#endif
