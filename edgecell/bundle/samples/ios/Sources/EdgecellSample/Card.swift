import Foundation

/// What this sample reads of model.json.
public struct Card: Decodable {
    public struct Verified: Decodable {
        public let status: String
        public let sentence: String
    }

    public struct Model: Decodable {
        public let file: String
        public let sha256: String
    }

    public struct Tensor: Decodable {
        public let dtype: String
        public let scale: Double?
        public let zero_point: Int?
        public let multiply: Double?
        public let add: Double?
    }

    public struct Preprocessing: Decodable {
        public struct Decode: Decodable {
            public let max_pixels: Int
        }

        public struct Fit: Decodable {
            public let mode: String
            public let central_fraction: Double?
        }

        public struct Resize: Decodable {
            public let height: Int
            public let width: Int
        }

        public let decode: Decode
        public let fit: Fit
        public let resize: Resize
    }

    public struct Task: Decodable {
        public let kind: String
    }

    public struct Decision: Decodable {
        public struct Abstention: Decodable {
            public let threshold: Double?
        }

        public struct Temperature: Decodable {
            public let use: Bool
            public let value: Double
            public let floor: Double
        }

        public struct Labels: Decodable {
            public struct Scaling: Decodable {
                public let slopes: [Double]
                public let offsets: [Double]
            }

            public let thresholds: [Double?]
            public let scaling: Scaling?
        }

        public let label_threshold: Double?
        public let labels: Labels?
        public let abstention: Abstention
        public let temperature: Temperature
    }

    public struct Golden: Decodable {
        public let file: String
    }

    public let schema: String
    public let schema_version: Int
    public let notice: String
    public let verified: Verified
    public let model: Model
    public let input: Tensor
    public let output: Tensor
    public let preprocessing: Preprocessing
    public let task: Task
    public let labels: [String]
    public let decision: Decision
    public let golden: Golden

    /// model.json in a folder.
    public static func read(_ folder: URL) throws -> Card {
        let data = try Data(contentsOf: folder.appendingPathComponent("model.json"))
        let card = try JSONDecoder().decode(Card.self, from: data)
        guard card.schema == "edgecell/bundle", card.schema_version <= 2 else {
            throw SampleError.unsupported("model.json of a newer kind than this sample knows")
        }
        return card
    }

    /// The output tensor's bytes → its own numbers.
    public func values(_ data: Data) throws -> [Double] {
        switch output.dtype {
        case "uint8": return data.map { Double($0) }
        case "int16": return numbers(data, Int16.self).map { Double($0) }
        case "float32": return numbers(data, Float32.self).map { Double($0) }
        default: throw SampleError.unsupported("an output of \(output.dtype)")
        }
    }

    /// The output tensor's own numbers → the model's own probabilities.
    public func probabilities(_ values: [Double]) -> [Double] {
        guard let scale = output.scale else { return values }
        return values.map { ($0 - Double(output.zero_point ?? 0)) * scale }
    }

    /// Probabilities to show people: with the temperature, or each label's scaling, where there is one.
    public func calibrated(_ probabilities: [Double]) -> [Double] {
        let temperature = decision.temperature
        if let scaling = decision.labels?.scaling {
            return probabilities.indices.map { i in
                let kept = min(max(probabilities[i], temperature.floor), 1 - temperature.floor)
                let logit = log(kept / (1 - kept)) * scaling.slopes[i] + scaling.offsets[i]
                return 1 / (1 + exp(-logit))
            }
        }
        guard temperature.use else { return probabilities }
        let logits = probabilities.map { log(max($0, temperature.floor)) / temperature.value }
        let most = logits.max() ?? 0
        let odds = logits.map { exp($0 - most) }
        let sum = odds.reduce(0, +)
        return odds.map { $0 / sum }
    }

    /// The labels to show: one, several where several can hold, none where the model is not sure.
    public func answers(_ probabilities: [Double]) -> [String] {
        if task.kind == "multi-label" {
            let threshold = decision.label_threshold ?? 0.5
            return labels.indices.filter { i in
                guard let least = decision.labels?.thresholds[i] else { return probabilities[i] > threshold }
                return probabilities[i] >= least - 1e-7
            }.map { labels[$0] }
        }
        guard let most = probabilities.max(), let best = probabilities.firstIndex(of: most) else { return [] }
        if let threshold = decision.abstention.threshold, most < threshold - 1e-7 { return [] }
        return [labels[best]]
    }

    private func numbers<Number>(_ data: Data, _: Number.Type) -> [Number] {
        data.withUnsafeBytes { Array($0.bindMemory(to: Number.self)) }
    }
}

public enum SampleError: Error, Equatable {
    case unsupported(String)
    case unreadable(String)
}
