# A static binary with SQLite in it, in an image with nothing else.
#   docker build -t gatehouse .
#   docker run -v ./gatehouse.yaml:/etc/gatehouse/gatehouse.yaml:ro -v gatehouse:/data -p 443:8443 -p 80:8080 gatehouse
# with data_dir: /data in the configuration.
FROM golang:1.26-bookworm AS build
ARG VERSION=unknown
ARG COMMIT=unknown
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make static VERSION="$VERSION" COMMIT="$COMMIT" && mkdir /data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /src/bin/gatehouse /usr/local/bin/gatehouse
COPY --from=build --chown=nonroot:nonroot --chmod=0700 /data /data
ENV GATEHOUSE_CONFIG=/etc/gatehouse/gatehouse.yaml
VOLUME /data
EXPOSE 8443 8080
USER nonroot
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s CMD ["/usr/local/bin/gatehouse", "healthcheck"]
# the gateway drains for 25 s: docker stop --time 30
ENTRYPOINT ["/usr/local/bin/gatehouse"]
CMD ["serve"]
