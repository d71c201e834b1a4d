// swift-tools-version:5.7
// Everything but LiteRT, which has no Swift package: that comes with CocoaPods, see the README.
import PackageDescription

let package = Package(
    name: "EdgecellSample",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [.library(name: "EdgecellSample", targets: ["EdgecellSample"])],
    targets: [
        .target(name: "EdgecellSample"),
        .testTarget(name: "EdgecellSampleTests", dependencies: ["EdgecellSample"]),
    ]
)
