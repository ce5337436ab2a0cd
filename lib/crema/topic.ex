defmodule Crema.Topic do
  @moduledoc """
  Handles of topics, which `Crema.topic/3` makes and which can be used wherever a producer can.

      {:ok, images} =
        Crema.topic(MyApp.Producer, "images", serializer: :json, pipeline: 4, batch: {:fixed, 100})

      {:ok, ref} = Crema.push(images, %{camera: 1, format: "png"}, image)
      {:ok, report} = Crema.await(ref)

  A message of a handle leaves out the topic. It has a `:value`, any term that the serializer takes;
  or `:metadata`, such a term, and `:data`, iodata that is sent as it is. `:crema_serializer.read/2`
  gives both back when the message is consumed.

  ## Options

    * `:validator`, a function of metadata and data, or a module with the behaviour
      `:crema_validator`, alone or as `{module, args}`: returns `:ok` or `{:error, reason}`
    * `:selector`, a function of metadata, requested partition and number of partitions, or a module
      with the behaviour `:crema_selector`: returns a partition
    * `:serializer`, `:raw` (the default), `:term`, `:json`, or a module with the behaviour
      `:crema_serializer`
    * `:prepend`, a list of middleware for the message as it is given
    * `:append`, a list of middleware for the message as it will be sent
    * `:pipeline` (0), how many processes do all this for messages that are pushed
    * `:ordering`, `:strict` (the default) or `:loose`: whether a pipeline keeps the order of pushes
    * `:batch`, `{:fixed, n}`, `:adaptive` or `:none` (the default): what pushed messages are sent
      together
    * `:max_batches` (2), how many batches may be without their reports; then a push waits
  """
end
