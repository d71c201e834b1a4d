import CryptoKit
import Foundation
import XCTest

@testable import EdgecellSample

/// Does this machine do with the golden images what the training pipeline did? The test that fails names the
/// stage. Each stage is fed what the stage before should have given.
final class GoldenTests: XCTestCase {
    private struct Golden: Decodable {
        struct Tolerance: Decodable {
            let quanta: Double
            let quantum: Double
        }

        struct Decoded: Decodable {
            let width: Int
            let height: Int
            let sha256: String
        }

        struct Stored: Decodable {
            let file: String
        }

        struct Top: Decodable {
            let index: Int
            let label: String
        }

        struct Case: Decodable {
            let image: String
            let decoded: Decoded
            let resized: Stored
            let input: Stored
            let output: Stored
            let top1: Top?
        }

        let tolerance: Tolerance
        let cases: [Case]
    }

    /// The bundle: five folders above this file, which a simulator can read.
    private let bundle = (0..<5).reduce(URL(fileURLWithPath: #filePath)) { url, _ in
        url.deletingLastPathComponent()
    }
    private var card: Card!
    private var golden: Golden!
    private var folder: URL!

    override func setUpWithError() throws {
        card = try Card.read(bundle)
        let file = bundle.appendingPathComponent(card.golden.file)
        folder = file.deletingLastPathComponent()
        golden = try JSONDecoder().decode(Golden.self, from: try Data(contentsOf: file))
        XCTAssertFalse(golden.cases.isEmpty)
    }

    func testDecode() throws {
        for test in golden.cases {
            let found = try decoded(test)
            XCTAssertEqual(found.width, test.decoded.width, "decode: \(test.image)")
            XCTAssertEqual(found.height, test.decoded.height, "decode: \(test.image)")
            XCTAssertEqual(sha256(Data(found.data)), test.decoded.sha256, "decode: \(test.image)")
        }
    }

    func testResize() throws {
        let steps = card.preprocessing
        for test in golden.cases {
            let image = try decoded(test)
            guard sha256(Data(image.data)) == test.decoded.sha256 else { continue } // a fault of decoding
            let found = Preprocess.resize(
                image, width: steps.resize.width, height: steps.resize.height,
                crop: steps.fit.mode == "crop", fraction: steps.fit.central_fraction ?? 1)
            XCTAssertEqual(Data(found.data), try read(test.resized), "resize: \(test.image)")
        }
    }

    func testScale() throws {
        let size = card.preprocessing.resize
        for test in golden.cases {
            let image = Pixels(width: size.width, height: size.height, data: [UInt8](try read(test.resized)))
            let found = try Preprocess.scale(image, card.input)
            XCTAssertEqual(found, try read(test.input), "scale: \(test.image)")
        }
    }

    func testInference() throws {
        let model = try Data(contentsOf: bundle.appendingPathComponent(card.model.file))
        XCTAssertEqual(sha256(model), card.model.sha256, "inference: \(card.model.file) was altered")
        #if canImport(TensorFlowLite)
        let classifier = try Classifier(folder: bundle)
        let reach = golden.tolerance.quanta * golden.tolerance.quantum
        for test in golden.cases {
            let found = try card.values(try classifier.infer(try read(test.input)))
            let right = try card.values(try read(test.output))
            XCTAssertEqual(found.count, right.count, "inference: \(test.image)")
            for (value, expected) in zip(found, right) {
                XCTAssertLessThanOrEqual(abs(value - expected), reach, "inference: \(test.image)")
            }
            if let top = test.top1, let most = found.max() {
                XCTAssertEqual(found.firstIndex(of: most), top.index, "inference: \(test.image) is not \(top.label)")
            }
        }
        #else
        throw XCTSkip("inference was not tried: LiteRT comes with CocoaPods, see the README")
        #endif
    }

    private func decoded(_ test: Golden.Case) throws -> Pixels {
        try Decode.pixels(
            try Data(contentsOf: folder.appendingPathComponent(test.image)),
            maxPixels: card.preprocessing.decode.max_pixels)
    }

    private func read(_ stored: Golden.Stored) throws -> Data {
        try Data(contentsOf: folder.appendingPathComponent(stored.file))
    }

    private func sha256(_ data: Data) -> String {
        SHA256.hash(data: data).map { String(format: "%02x", $0) }.joined()
    }
}
