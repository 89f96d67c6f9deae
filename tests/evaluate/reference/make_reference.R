# Reference values of the statistics, computed by R: writes reference.json beside this script.
#
#   apt-get install r-base-core r-cran-proc r-cran-jsonlite r-cran-sandwich
#   Rscript make_reference.R
#
# pROC gives AUROC, DeLong's variance, interval and paired test; sandwich gives errors robust to
# clusters; stats gives the rest. PRROC is not
# among Debian's packages: its area is computed here from its definition by numeric quadrature of
# the Davis-Goadrich interpolation, and one value that PRROC's own tests publish (seed 101, and the
# area of the worst ranking) stands beside, with the data that its test draws.

suppressMessages({library(pROC); library(jsonlite); library(sandwich)})

pr_area <- function(y, p) {
  thresholds <- sort(unique(p), decreasing = TRUE)
  tp <- sapply(thresholds, function(t) sum(y == 1 & p >= t))
  fp <- sapply(thresholds, function(t) sum(y == 0 & p >= t))
  before_tp <- c(0, head(tp, -1)); before_fp <- c(0, head(fp, -1))
  total <- 0
  for (i in seq_along(tp)) {
    gain <- tp[i] - before_tp[i]
    if (gain == 0) next
    slope <- (fp[i] - before_fp[i]) / gain
    precision <- function(x) {
      hits <- before_tp[i] + x
      called <- hits + before_fp[i] + slope * x
      ifelse(called == 0, 1 / (1 + slope), hits / called)
    }
    total <- total + integrate(precision, 0, gain, rel.tol = 1e-12, abs.tol = 1e-13)$value
  }
  total / sum(y)
}

describe <- function(y, p, q) {
  one <- roc(y, p, direction = "<", quiet = TRUE)
  two <- roc(y, q, direction = "<", quiet = TRUE)
  test <- roc.test(one, two, method = "delong", paired = TRUE)
  ci <- ci.auc(one, method = "delong")
  lp <- qlogis(pmin(pmax(p, 1e-6), 1 - 1e-6))
  joint <- summary(glm(y ~ lp, family = binomial, epsilon = 1e-14))$coefficients
  large <- summary(glm(y ~ offset(lp), family = binomial, epsilon = 1e-14))$coefficients
  right <- (p >= 0.5) == (y == 1); other <- (q >= 0.5) == (y == 1)
  list(
    idh = y, first = p, second = q,
    auroc = as.numeric(auc(one)), auroc_second = as.numeric(auc(two)),
    delong_variance = var(one, method = "delong"), delong_ci = as.numeric(ci)[c(1, 3)],
    delong_p = test$p.value, delong_z = as.numeric(test$statistic),
    auprc = pr_area(y, p),
    brier = mean((p - y)^2),
    slope = joint["lp", 1], slope_error = joint["lp", 2],
    intercept = joint["(Intercept)", 1], intercept_error = joint["(Intercept)", 2],
    in_the_large = large[1, 1], in_the_large_error = large[1, 2],
    binomial_p = binom.test(sum(right), length(y), mean(other))$p.value,
    mcnemar_p = binom.test(sum(right & !other), sum(right != other))$p.value,
    sensitivity_wilson = as.numeric(prop.test(sum(p >= 0.5 & y == 1), sum(y), correct = FALSE)$conf.int)
  )
}

set.seed(7)
n <- 129
y <- rbinom(n, 1, 0.28); x <- rnorm(n)
continuous <- describe(y, plogis(2.2 * y - 1.5 + 1.2 * x + rnorm(n)), plogis(1.1 * y - 1.2 + x + rnorm(n)))
set.seed(8)
y <- rbinom(n, 1, 0.4); x <- rnorm(n)
tied <- describe(y, round(plogis(1.8 * y - 1 + x + rnorm(n)), 1) * 0.9 + 0.05, round(plogis(y - 0.7 + rnorm(n)), 1) * 0.9 + 0.05)

set.seed(101)
scores0 <- runif(n = 100, min = 0.3, max = 1.0); scores1 <- runif(n = 100, min = 0.0, max = 0.6)

table_of <- function(...) matrix(c(...), ncol = 2)
p_of <- function(m) list(counts = m, chi_square_p = suppressWarnings(chisq.test(m)$p.value),
                         fisher_p = fisher.test(m, workspace = 2e7)$p.value)
severance <- list(sex = c(492, 364), idh = c(617, 239), grade = c(175, 169, 512))
snuh <- list(sex = c(64, 43), idh = c(77, 30), grade = c(14, 35, 58))
tcia <- list(sex = c(108, 95), idh = c(119, 84), grade = c(48, 52, 103))
two <- function(other) Map(function(a, b) p_of(table_of(a, b)), severance, other)
small <- list(p_of(table_of(3, 1, 1, 3)), p_of(table_of(5, 1, 0, 2, 6, 9)), p_of(table_of(12, 5, 29, 2)),
              p_of(table_of(0, 7, 2, 3, 1, 4, 6, 2)), p_of(table_of(10, 20, 20, 10)))

set.seed(9)
a <- rnorm(60, 52, 15); b <- rnorm(35, 47, 11)
binomials <- list(c(121, 129, 0.721), c(94, 107, 0.748), c(160, 203, 0.685), c(7, 20, 0.3), c(0, 12, 0.1), c(12, 12, 0.9))

# Five slices a patient: the recalibration's errors by clusters.
set.seed(10)
patient <- rep(1:40, each = 5)
y <- rep(rbinom(40, 1, 0.35), each = 5)
p <- plogis(1.5 * y - 1 + rep(rnorm(40), each = 5) + rnorm(200, sd = 0.5)); lp <- qlogis(p)
joint <- glm(y ~ lp, family = binomial, epsilon = 1e-14)
large <- glm(y ~ offset(lp), family = binomial, epsilon = 1e-14)
errors <- function(fit) sqrt(diag(vcovCL(fit, cluster = patient, type = "HC0")))
clustered <- list(idh = y, probability = p, patient = patient - 1, slope = unname(coef(joint)[2]),
                  intercept_error = unname(errors(joint)[1]), slope_error = unname(errors(joint)[2]),
                  in_the_large_error = unname(errors(large)[1]))

# Newcombe 2006, method 5, of an AUROC of 1 with m mutants and n wildtypes.
perfect <- lapply(list(c(6, 17), c(10, 10), c(30, 77), c(1, 4)), function(v) {
  m <- v[1]; n <- v[2]; s <- (m + n) / 2 - 1
  reach <- function(a) (1 - a)^2 - qnorm(0.975)^2 * a * (1 - a) * (1 + s * (1 - a) / (2 - a) + s * a / (1 + a)) / (m * n)
  list(mutants = m, wildtypes = n, low = uniroot(reach, c(0, 1 - 1e-9), tol = 1e-15)$root)
})

write_json(list(
  made_by = paste(R.version.string, "pROC", as.character(packageVersion("pROC")),
                  "sandwich", as.character(packageVersion("sandwich"))),
  clustered = clustered, perfect = perfect,
  continuous = continuous, tied = tied,
  prroc_published = list(
    source = "PRROC tests/testthat/test-PR.R: auc.integral, seed 101; worst ranking of equal classes",
    positive = scores0, negative = scores1, auprc = 0.901869384113,
    quadrature = pr_area(rep(1:0, each = 100), c(scores0, scores1)), worst = 0.3068528194),
  table_one = list(snuh = two(snuh), tcia = two(tcia)), small_tables = small,
  t_test = list(a = a, b = b, p_student = t.test(a, b, var.equal = TRUE)$p.value, p_welch = t.test(a, b)$p.value),
  binomial = lapply(binomials, function(v) list(x = v[1], n = v[2], p = v[3], value = binom.test(v[1], v[2], v[3])$p.value)),
  holm = list(p = c(0.01, 0.04, 0.03, 0.5, 0.005), adjusted = p.adjust(c(0.01, 0.04, 0.03, 0.5, 0.005), "holm"))
), "reference.json", digits = I(15), auto_unbox = TRUE, pretty = FALSE)
