Pod::Spec.new do |spec|
  spec.name = "EdgecellSample"
  spec.version = "1.0.0"
  spec.summary = "An image classifier of an edgecell bundle. Not a medical device."
  spec.homepage = "https://example.invalid"
  spec.license = { :type => "See the bundle's model.json" }
  spec.author = "edgecell bundle"
  spec.source = { :path => "." }
  spec.swift_version = "5.7"
  spec.ios.deployment_target = "15.0"
  spec.static_framework = true
  spec.source_files = "Sources/**/*.swift"
  spec.dependency "TensorFlowLiteSwift", "2.17.0"
  spec.test_spec "Golden" do |test|
    test.source_files = "Tests/**/*.swift"
  end
end
